// Marks the row of today in a tide table.
export function markToday(table) {
  const month = location.pathname.match(/(\d{4}-\d{2})/)?.[1];
  const now = new Date().toISOString();
  if (month !== now.slice(0, 7)) return;
  for (const row of table.rows) {
    if (row.cells[0].textContent === now.slice(8, 10)) row.style.background = "var(--sand)";
  }
}
