import Link from "next/link";
import type { ReactNode } from "react";
import { CopyButton } from "#ui/copy-button.tsx";
import { Markdown } from "./_content/markdown.tsx";
import { sectionsOf } from "./_content/sections.ts";
import { markdownOf, type Page, readBook } from "./_content/source.ts";

/** A page of the documentation: its text, its headings, and the pages before and after it. */
export async function Article({ page, insert }: { page: Page; insert?: (name: string) => ReactNode }) {
  const sections = sectionsOf(page.text).filter(({ depth }) => depth === 2);
  const book = await readBook();
  const at = book.findIndex(({ slug }) => slug === page.slug);
  const [before, after] = [book[at - 1], book[at + 1]];
  return (
    <div className="xl:grid xl:grid-cols-[minmax(0,1fr)_11rem] xl:gap-x-10">
      <article className="min-w-0 max-w-[44rem] [&>p]:text-pretty">
        <Markdown text={page.text} insert={insert} />
        <footer className="mt-14 border-t border-line pt-6">
          <nav aria-label="Before and after" className="flex justify-between gap-6 text-sm">
            {before === undefined ? <span /> : <Step page={before} word="Before" />}
            {after !== undefined && <Step page={after} word="Next" end />}
          </nav>
          <div className="mt-6 flex flex-wrap items-center gap-x-3 gap-y-2 text-sm text-soft">
            <span>
              For machines:{" "}
              <a href={page.markdownPath} className="prose-link">
                this page as Markdown
              </a>
              ,{" "}
              <a href="/llms.txt" className="prose-link">
                llms.txt
              </a>
            </span>
            <CopyButton text={markdownOf(page)} what="this page as Markdown" kind="quiet" />
          </div>
        </footer>
      </article>
      {sections.length > 1 && (
        <nav aria-label="On this page" className="hidden xl:block">
          <div className="sticky top-8 max-h-[calc(100dvh-4rem)] overflow-y-auto text-[0.8125rem] leading-5">
            <p className="font-medium">On this page</p>
            <ul className="mt-2 space-y-1.5">
              {sections.map(({ anchor, title }) => (
                <li key={anchor}>
                  <a href={`#${anchor}`} className="block text-soft [overflow-wrap:anywhere] hover:text-ink">
                    {title}
                  </a>
                </li>
              ))}
            </ul>
          </div>
        </nav>
      )}
    </div>
  );
}

function Step({ page, word, end = false }: { page: Page; word: string; end?: boolean }) {
  return (
    <Link href={page.path} className={end ? "group text-right" : "group"}>
      <span className="block text-soft">{word}</span>
      <span className="font-medium underline-offset-4 group-hover:underline">{page.title}</span>
    </Link>
  );
}
