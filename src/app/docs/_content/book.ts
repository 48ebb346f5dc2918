/** The pages of /docs, in reading order. Each is `docs/site/{slug}.md`; `index` is /docs itself. */
export const book: readonly { title: string; pages: readonly string[] }[] = [
  { title: "Start", pages: ["index", "quickstart", "connect-wallet", "nextjs"] },
  { title: "Build", pages: ["billing", "apis", "clients", "credits", "webhooks", "tokens", "testing", "limits", "errors"] },
  { title: "Reference", pages: ["api", "sdk"] },
  { title: "Run it", pages: ["self-hosting", "security"] },
];

export const slugs: readonly string[] = book.flatMap(({ pages }) => pages);

export function pathOf(slug: string): string {
  return slug === "index" ? "/docs" : `/docs/${slug}`;
}

/** The address of a page's Markdown. */
export function markdownPathOf(slug: string): string {
  return `/docs/${slug}.md`;
}
