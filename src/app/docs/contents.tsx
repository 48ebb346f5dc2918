"use client";

import { clsx } from "clsx";
import { ChevronDown } from "lucide-react";
import Link from "next/link";
import { usePathname } from "next/navigation";
import { useEffect, useState } from "react";

type Groups = readonly { title: string; pages: readonly { path: string; title: string }[] }[];

/** The list of pages: beside the text on a wide screen, folded above it on a narrow one. */
export function Contents({ groups }: { groups: Groups }) {
  const here = usePathname();
  const [open, setOpen] = useState(false);
  const current = groups.flatMap(({ pages }) => pages).find(({ path }) => path === here);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the list folds when another page is shown.
  useEffect(() => setOpen(false), [here]);
  return (
    <nav aria-label="Documentation" className="mt-3 lg:mt-6">
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex w-full items-center justify-between gap-2 rounded-md border border-line bg-surface px-3 py-2 text-sm font-medium lg:hidden"
      >
        {current?.title ?? "All pages"}
        <ChevronDown size={16} aria-hidden="true" className={open ? "rotate-180" : undefined} />
      </button>
      <div className={clsx("mt-4 space-y-6 lg:mt-0 lg:block", !open && "hidden")}>
        {groups.map(({ title, pages }) => (
          <div key={title}>
            <p className="px-3 text-[0.8125rem] font-medium text-soft">{title}</p>
            <ul className="mt-1">
              {pages.map(({ path, title: name }) => (
                <li key={path}>
                  <Link
                    href={path}
                    aria-current={path === here ? "page" : undefined}
                    className={clsx(
                      "block rounded-md px-3 py-1 text-sm leading-6",
                      path === here ? "bg-sunken font-medium text-ink" : "text-soft hover:bg-sunken hover:text-ink",
                    )}
                  >
                    {name}
                  </Link>
                </li>
              ))}
            </ul>
          </div>
        ))}
      </div>
    </nav>
  );
}
