"use client";

import { clsx } from "clsx";
import Link from "next/link";
import { usePathname } from "next/navigation";
import type { ReactNode } from "react";

/** A link that knows whether it leads to where one is. `exact`: pages below it don't count; those below `also` do. */
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
  /** false: fetched when it is pressed, for pages that need much and where few go. */
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
