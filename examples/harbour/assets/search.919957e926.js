// A search over the titles of the log book.
export function addSearch(main) {
  const field = Object.assign(document.createElement("input"), { type: "search", placeholder: "Search the log book" });
  const list = Object.assign(document.createElement("ul"), { className: "posts" });
  let entries;
  field.addEventListener("input", async () => {
    entries ??= await (await fetch("/data/search.json")).json();
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
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
