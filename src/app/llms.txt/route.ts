import { publicUrl } from "#env";
import { book } from "../docs/_content/book.ts";
import { readPage } from "../docs/_content/source.ts";

export const dynamic = "force-dynamic";

/** The list of pages for programs (llmstxt.org). */
export async function GET(): Promise<Response> {
  const url = publicUrl();
  const groups = await Promise.all(
    book.map(async ({ title, pages }) => {
      const found = await Promise.all(pages.map((slug) => readPage(slug)));
      const lines = found.flatMap((page) => (page === null ? [] : [`- [${page.title}](${url}${page.markdownPath}): ${page.description}`]));
      return `## ${title}\n\n${lines.join("\n")}`;
    }),
  );
  const text = `# Quota

> A wallet for AI apps: the person who uses an app pays for its inference, in every app, from one balance. Apps send their API key and the person's id to an OpenAI-compatible API at ${url}/v1.

${groups.join("\n\n")}

## Machine-readable

- [OpenAPI 3.1](${url}/v1/openapi.json): every operation of /v1
- [OpenID configuration](${url}/.well-known/openid-configuration): the authorization server behind Connect Wallet
`;
  return new Response(text, { headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=300" } });
}
