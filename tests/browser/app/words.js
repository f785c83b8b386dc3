export const words = import.meta.env.VITE_BUILD === "one" ? ["one"] : ["two", "words"];
