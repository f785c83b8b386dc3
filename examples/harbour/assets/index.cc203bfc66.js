import { showTide } from "./tide.57c1a55153.js";

const tide = document.querySelector("[data-tide]");
if (tide) showTide(tide);

if (location.pathname === "/blog/") {
  const { addSearch } = await import("./search.919957e926.js");
  addSearch(document.querySelector("main"));
}
if (document.querySelector("table")) {
  const { markToday } = await import("./today.e767a8bb8a.js");
  markToday(document.querySelector("table"));
}
