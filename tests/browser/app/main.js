import "./main.css";

const build = import.meta.env.VITE_BUILD;
document.querySelector("#main").textContent = `main ${build}`;
document.querySelector("#more").addEventListener("click", async () => {
  const page = await import("./page.js");
  document.querySelector("#page").textContent = page.text();
});
