import type { Metadata } from "next";
import { readPage } from "./_content/source.ts";
import { Article } from "./article.tsx";

export const metadata: Metadata = { title: "Documentation", alternates: { types: { "text/markdown": "/docs/index.md" } } };

export default async function Page() {
  const page = await readPage("index");
  if (page === null) throw new Error("docs/site/index.md is missing.");
  return <Article page={page} />;
}
