"""Words, scripts and styles of the example site; `build_harbour.py` puts them together."""

from __future__ import annotations

PLACES = (
    "North Quay",
    "Ropewalk",
    "Crane Steps",
    "Lantern Rock",
    "Ferry Slip",
    "Salt Store",
    "Pilot Bay",
    "Net Loft",
    "Breakwater",
    "Customs Stairs",
    "Seal Point",
    "Boatyard",
)
SUBJECTS = (
    "A new mooring ring",
    "Dredging begins",
    "Fog signal tested",
    "Spring clean",
    "Winter lay-up",
    "The ferry is late",
    "A record mackerel",
    "Lifeboat exercise",
    "Paint day",
    "The crane turns again",
    "Visitors from the north",
    "Low water walk",
    "Repairs to the steps",
    "Market morning",
    "Storm watch",
    "Ice on the ladders",
    "Ropes, knots and a whistle",
    "Children learn to scull",
    "The tide gauge is mended",
    "Lamps relit",
)
TAGS = ("berths", "boats", "people", "repairs", "safety", "weather", "wildlife")
OPENINGS = (
    "The harbour office reports:",
    "Entered in the log this morning:",
    "Word from the quay:",
    "For those who asked:",
    "The watch writes:",
    "Noted between two tides:",
)
OBSERVATIONS = (
    "The wind stood in the south-west all day and the swell reached as far as the inner basin.",
    "At low water the old chain showed for the first time since the autumn gales.",
    "Two seals have taken to sleeping on the slip and do not move for anyone under forty tonnes.",
    "The stones of the quay are warm by noon and every gull on the island knows it.",
    "The harbour was cut from the rock by hand, and the marks of the chisels can still be counted.",
    "The lamp on the breakwater was first lit with whale oil, then gas, and now with the sun.",
    "Visibility fell to a cable and the bell was rung every two minutes until four.",
    "The gauge read four metres and ten, which is high even for the equinox.",
    "Nobody remembers when the crane was built, only that it has always creaked in the same place.",
    "A line of kelp marks how far the water came in the night.",
    "The ferry's wash reaches the small pontoon after ninety seconds, as it has for thirty years.",
    "Eider ducks came round the point at dusk, eleven of them, talking.",
)
HAPPENINGS = (
    "Maren and her crew replaced three planks before the flood and had her afloat by supper.",
    "The school came down with buckets and left with more crabs than the pilot thought wise.",
    "A yacht from across the sound lost her rudder and was towed in without a scratch.",
    "The new fenders arrived, were found to be too short, and were used as benches instead.",
    "Old Tobias showed the apprentices how to splice wire, twice, without looking.",
    "She was hauled out on Tuesday, scraped on Wednesday and painted before the rain.",
    "The evening boat carried nothing but bread, post and a piano with one leg.",
    "Divers cleared a net from the outer mooring and returned it to an embarrassed owner.",
    "The survey found her frames as sound as on the day she was launched.",
    "Her engine was rebuilt in the net loft over the winter, by lamplight and argument.",
    "The lifeboat launched in six minutes, which is one better than last year.",
    "A wedding party missed the tide and danced on the quay until the next one.",
)
PRACTICAL = (
    "Berths on the inner side are kept free from six to nine for the fishing boats.",
    "Call on channel 12 before you round the breakwater; the ferry cannot stop for you.",
    "Fresh water is at the foot of the crane, and the key hangs in the office.",
    "Tickets are sold on board; children under seven travel for a song, if they sing it.",
    "The steps are slippery below the green line: use the ladder at low water.",
    "Power is on posts two, five and nine; bring your own lead.",
    "Leave your lines long enough for four metres of tide.",
    "The last ferry leaves at nine in summer and at dusk in winter.",
    "Waste oil goes into the red drum, never over the side.",
    "The slip may be used by anyone who leaves it cleaner than before.",
    "Wheelchairs reach every pontoon by the long ramp beside the salt store.",
    "In fog the harbour is closed to boats without radar.",
)
CLOSINGS = (
    "The next entry follows after the spring tide.",
    "The kettle is on in the office.",
    "Questions are answered on the quay, not by letter.",
    "Fair winds.",
    "The log is open to all who can read it.",
)
BOATS = (
    ("Aurelia", "Pilot cutter, 1908", "#7a1f1f"),
    ("Borealis", "Ferry, 1974", "#1f4f7a"),
    ("Cormorant", "Work boat, 1961", "#2d5d3a"),
    ("Dunlin", "Open sloop, 1932", "#8a5a18"),
    ("Eider", "Ferry, 1991", "#1f4f7a"),
    ("Fulmar", "Trawler, 1955", "#6b2d5c"),
    ("Gannet", "Lifeboat, 2006", "#c8501a"),
    ("Heron", "Dredger, 1983", "#4a4a4a"),
    ("Islay", "Ketch, 1926", "#7a1f1f"),
    ("Jackdaw", "Tender, 2014", "#2d5d3a"),
    ("Kittiwake", "Crabber, 1969", "#8a5a18"),
    ("Lapwing", "Yawl, 1911", "#1f4f7a"),
    ("Merganser", "Barge, 1947", "#4a4a4a"),
    ("Nightjar", "Smack, 1899", "#6b2d5c"),
    ("Osprey", "Harbour launch, 1988", "#c8501a"),
    ("Petrel", "Schooner, 1934", "#2d5d3a"),
    ("Quail", "Rowing gig, 2010", "#8a5a18"),
    ("Razorbill", "Trawler, 1978", "#7a1f1f"),
    ("Shearwater", "Cutter, 1920", "#1f4f7a"),
    ("Turnstone", "Work boat, 1999", "#4a4a4a"),
)
GUIDES = {
    "Arriving": ("Approach from the south", "Approach at night", "Radio", "Where to wait", "Customs"),
    "Berths": ("Inner basin", "Outer moorings", "Drying out", "Fees", "Winter berths"),
    "Services": ("Water and power", "Fuel", "Crane and slip", "Laundry", "Bread and post"),
    "Safety": ("Ladders", "Fire", "Fog", "Man overboard", "Storm warnings"),
}

STYLE = """:root {
  --ink: #14242e;
  --sea: #0b3a53;
  --foam: #f4f8f9;
  --sand: #f4efe2;
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--foam); font: 1.05rem/1.6 Georgia, serif; }
header { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: baseline; padding: 1rem 2rem; }
header { background: var(--sea); }
header a { color: var(--foam); text-decoration: none; margin-right: 1rem; }
header .name { font-size: 1.3rem; letter-spacing: 0.04em; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 2rem 3rem; }
img { max-width: 100%; height: auto; border-radius: 0.4rem; }
h1, h2 { line-height: 1.2; color: var(--sea); }
table { border-collapse: collapse; width: 100%; }
td, th { padding: 0.25rem 0.6rem; border-bottom: 1px solid #cfdade; text-align: left; }
.posts { list-style: none; padding: 0; }
.posts time, .meta { color: #557; font-size: 0.9em; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1rem; }
.grid { list-style: none; padding: 0; }
.around { display: flex; justify-content: space-between; margin-top: 2rem; }
[data-tide] { padding: 0.8rem 1rem; background: var(--sand); border-radius: 0.4rem; }
[data-tide]:empty { display: none; }
footer { padding: 1.5rem 2rem; border-top: 1px solid #cfdade; font-size: 0.9em; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe9ec; --foam: #0d1a21; --sand: #1d2f38; }
  h1, h2 { color: #9fd0e6; }
}
"""

SCRIPTS = {
    "index": """import { showTide } from "./tide.js";

const tide = document.querySelector("[data-tide]");
if (tide) showTide(tide);

if (location.pathname === "/blog/") {
  const { addSearch } = await import("./search.js");
  addSearch(document.querySelector("main"));
}
if (document.querySelector("table")) {
  const { markToday } = await import("./today.js");
  markToday(document.querySelector("table"));
}
""",
    "tide": """// Shows the next high water of today from the month's table.
export async function showTide(place) {
  const today = new Date().toISOString().slice(0, 10);
  const answer = await fetch(`/data/tides/${today.slice(0, 7)}.json`);
  if (!answer.ok) return;
  const { tides } = await answer.json();
  const entry = tides.find((each) => each.day === today);
  if (entry) place.textContent = `High water today at ${entry.high}, low water at ${entry.low}.`;
}
""",
    "search": """// A search over the titles of the log book.
export function addSearch(main) {
  const field = Object.assign(document.createElement("input"), { type: "search", placeholder: "Search the log book" });
  const list = Object.assign(document.createElement("ul"), { className: "posts" });
  let entries;
  field.addEventListener("input", async () => {
    entries ??= await (await fetch("/data/search.json")).json();
    const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const found = entries.filter((entry) => words.every((word) => entry.title.toLowerCase().includes(word)));
    list.replaceChildren(
      ...(words.length ? found.slice(0, 12) : []).map((entry) => {
        const item = document.createElement("li");
        item.append(Object.assign(document.createElement("a"), { href: entry.path, textContent: entry.title }));
        return item;
      }),
    );
  });
  main.prepend(field, list);
}
""",
    "today": """// Marks the row of today in a tide table.
export function markToday(table) {
  const month = location.pathname.match(/(\\d{4}-\\d{2})/)?.[1];
  const now = new Date().toISOString();
  if (month !== now.slice(0, 7)) return;
  for (const row of table.rows) {
    if (row.cells[0].textContent === now.slice(8, 10)) row.style.background = "var(--sand)";
  }
}
""",
}
