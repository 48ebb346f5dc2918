import { sectionsOf } from "../_content/sections.ts";
import { markdownOf, readBook } from "../_content/source.ts";

export const dynamic = "force-dynamic";

/** All sections of all pages, for the search. */
export async function GET(): Promise<Response> {
  const entries = (await readBook()).flatMap((page) =>
    sectionsOf(markdownOf(page)).map(({ anchor, title, text }) => {
      const path = anchor === "" ? page.path : `${page.path}#${anchor}`;
      return { id: path, path, page: page.title, title, text };
    }),
  );
  return Response.json(entries, { headers: { "cache-control": "public, max-age=300" } });
}
