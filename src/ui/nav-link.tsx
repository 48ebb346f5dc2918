"use client";

import { clsx } from "clsx";
import Link from "next/link";
import { usePathname } from "next/navigation";
import type { ReactNode } from "react";

/** A link that is marked while its page is shown. `exact`: pages below it do not count; pages below `also` do. */
export function NavLink({
  href,
  exact = false,
  also,
  prefetch,
  className,
  children,
}: {
  href: string;
  exact?: boolean;
  also?: string;
  /** false: not prefetched, for pages with much data that are seldom opened. */
  prefetch?: false;
  className?: string;
  children: ReactNode;
}) {
  const path = usePathname();
  const here = path === href || (!exact && path.startsWith(`${href}/`)) || (also !== undefined && path.startsWith(`${also}/`));
  return (
    <Link
      href={href}
      prefetch={prefetch}
      aria-current={here ? "page" : undefined}
      className={clsx(
        "whitespace-nowrap rounded-md px-3 py-1.5 text-sm font-medium",
        here ? "bg-sunken text-ink" : "text-soft hover:bg-sunken hover:text-ink",
        className,
      )}
    >
      {children}
    </Link>
  );
}
