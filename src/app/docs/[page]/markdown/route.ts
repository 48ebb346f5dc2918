import { markdownOf, readPage } from "../../_content/source.ts";

export const dynamic = "force-dynamic";

/** A page as Markdown; next.config.js gives it the address `/docs/{page}.md`. */
export async function GET(_request: Request, { params }: { params: Promise<{ page: string }> }): Promise<Response> {
  const page = await readPage((await params).page);
  if (page === null) return new Response("There is no such page.\n", { status: 404 });
  return new Response(markdownOf(page), {
    headers: { "content-type": "text/markdown; charset=utf-8", "cache-control": "public, max-age=300" },
  });
}
