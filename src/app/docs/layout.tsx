import type { ReactNode } from "react";
import { currentUser } from "#server/people/auth.ts";
import { SiteFooter } from "#ui/site-footer.tsx";
import { SiteFrame } from "#ui/site-frame.tsx";
import { book } from "./_content/book.ts";
import { readBook } from "./_content/source.ts";
import { Contents } from "./contents.tsx";
import { Search } from "./search.tsx";

export default async function Layout({ children }: { children: ReactNode }) {
  const pages = new Map((await readBook()).map((page) => [page.slug, page]));
  const groups = book.map(({ title, pages: slugs }) => ({
    title,
    pages: slugs.flatMap((slug) => {
      const page = pages.get(slug);
      return page === undefined ? [] : [{ path: page.path, title: page.title }];
    }),
  }));
  return (
    <SiteFrame user={await currentUser()} footer={<SiteFooter />}>
      <div className="mx-auto grid w-full max-w-6xl flex-1 px-4 sm:px-6 lg:grid-cols-[13rem_minmax(0,1fr)] lg:gap-x-12">
        <aside className="lg:border-r lg:border-line lg:pr-6">
          <div className="pt-5 lg:sticky lg:top-0 lg:max-h-dvh lg:overflow-y-auto lg:py-8">
            <Search />
            <Contents groups={groups} />
          </div>
        </aside>
        <div className="min-w-0 pb-16 pt-8">{children}</div>
      </div>
    </SiteFrame>
  );
}
