import type { Metadata } from "next";
import { notFound } from "next/navigation";
import { readPage } from "../_content/source.ts";
import { Article } from "../article.tsx";

type Props = { params: Promise<{ page: string }> };

export async function generateMetadata({ params }: Props): Promise<Metadata> {
  const page = await readPage((await params).page);
  return page === null
    ? {}
    : { title: page.title, description: page.description, alternates: { types: { "text/markdown": page.markdownPath } } };
}

export default async function Page({ params }: Props) {
  const page = await readPage((await params).page);
  if (page === null || page.slug === "index") notFound();
  return <Article page={page} />;
}
