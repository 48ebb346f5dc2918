import { lexer, type Token, type Tokens } from "marked";
import { plain } from "./source.ts";

/** A part of a page under a heading: the target of search results and links. */
export type Section = { anchor: string; depth: number; title: string; text: string };

/** The sections of a page; the first has the title and the text before the next heading. */
export function sectionsOf(markdown: string): Section[] {
  const anchors = anchorMaker();
  const sections: Section[] = [];
  for (const token of lexer(markdown)) {
    if (token.type === "heading") {
      const { depth, text } = token as Tokens.Heading;
      sections.push({ anchor: depth === 1 ? "" : anchors(text), depth, title: plain(text), text: "" });
    } else if (sections.length > 0) {
      const section = sections.at(-1) as Section;
      section.text = `${section.text} ${words(token)}`.trim();
    }
  }
  return sections;
}

/** Makes the anchors of one page: a heading's words, with a number when they repeat. */
export function anchorMaker(): (heading: string) => string {
  const taken = new Map<string, number>();
  return (heading) => {
    const anchor = plain(heading)
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, "")
      .trim()
      .replace(/ +/g, "-");
    const times = (taken.get(anchor) ?? 0) + 1;
    taken.set(anchor, times);
    return times === 1 ? anchor : `${anchor}-${times}`;
  };
}

function words(token: Token): string {
  if (token.type === "table") {
    const { header, rows } = token as Tokens.Table;
    return [header, ...rows].map((row) => row.map((cell) => plain(cell.text)).join(" ")).join(" ");
  }
  if (token.type === "html" || token.type === "space") return "";
  return plain("text" in token && typeof token.text === "string" ? token.text : token.raw);
}
