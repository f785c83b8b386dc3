import { showTide } from "./tide-V8GlUVPu.js";

const tide = document.querySelector("[data-tide]");
if (tide) showTide(tide);

if (location.pathname === "/blog/") {
  const { addSearch } = await import("./search-kZlX6Sbe.js");
  addSearch(document.querySelector("main"));
}
if (document.querySelector("table")) {
  const { markToday } = await import("./today-52eou4r7.js");
  markToday(document.querySelector("table"));
}
