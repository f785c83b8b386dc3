// Shows the next high water of today from the month's table.
export async function showTide(place) {
  const today = new Date().toISOString().slice(0, 10);
  const answer = await fetch(`/data/tides/${today.slice(0, 7)}.json`);
  if (!answer.ok) return;
  const { tides } = await answer.json();
  const entry = tides.find((each) => each.day === today);
  if (entry) place.textContent = `High water today at ${entry.high}, low water at ${entry.low}.`;
}
