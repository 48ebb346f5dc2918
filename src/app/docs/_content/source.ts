import { readFile } from "node:fs/promises";
import path from "node:path";
import { publicUrl } from "#env";
import { markdownPathOf, pathOf, slugs } from "./book.ts";
import { withoutTestWords } from "./code.ts";
import { generated } from "./generated.ts";

/** A page of the documentation: its Markdown, title and description. */
export type Page = { slug: string; path: string; markdownPath: string; title: string; description: string; text: string };

// The server runs in the repository's folder, as does `next start`.
const folder = () => path.join(/* turbopackIgnore: true */ process.cwd(), "docs/site");

const pages = new Map<string, Promise<Page>>();

/** A page with its generated parts and this server's address; null when no page has this name. */
export async function readPage(slug: string): Promise<Page | null> {
  if (!slugs.includes(slug)) return null;
  if (process.env.NODE_ENV !== "production") return compose(slug);
  let page = pages.get(slug);
  if (page === undefined) {
    page = compose(slug);
    // A failed page is composed again at the next request.
    page.catch(() => pages.delete(slug));
    pages.set(slug, page);
  }
  return page;
}

export async function readBook(): Promise<Page[]> {
  return Promise.all(slugs.map((slug) => readPage(slug) as Promise<Page>));
}

/** The page's Markdown for programs. */
export function markdownOf(page: Page): string {
  return withoutTestWords(page.text);
}

async function compose(slug: string): Promise<Page> {
  const source = await readFile(path.join(folder(), `${slug}.md`), "utf8");
  const text = withAddress(await fillIn(source));
  const [, title = slug, , description = ""] = /^# (.+)\n(\n(.+)\n)?/.exec(text) ?? [];
  return { slug, path: pathOf(slug), markdownPath: markdownPathOf(slug), title, description: plain(description), text };
}

/** Replaces the address of `npm start` in sources by this server's address. */
export function withAddress(text: string): string {
  return text.replaceAll("http://localhost:3000", publicUrl());
}

/** Replaces each `<!-- generated: name -->` by the part that is generated from the code. */
async function fillIn(source: string): Promise<string> {
  const parts = source.split(/^<!-- generated: ([\w-]+) -->$/m);
  const made = await Promise.all(parts.map((part, n) => (n % 2 === 0 ? part : generated(part))));
  return made.join("");
}

/** Markdown without its markup. */
export function plain(text: string): string {
  return text
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/[`*]/g, "")
    .trim();
}
