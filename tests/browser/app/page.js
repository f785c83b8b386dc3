import { words } from "./words.js";

export const text = () => `page ${import.meta.env.VITE_BUILD} ${words.length}`;
