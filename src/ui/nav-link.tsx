"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";
import type { ReactNode } from "react";
import { classes } from "./classes.ts";

/** A link that knows whether it leads to where one is. `exact`: pages below it don't count; those below `also` do. */
export function NavLink({
  href,
  exact = false,
  also,
  className,
  children,
}: {
  href: string;
  exact?: boolean;
  also?: string;
  className?: string;
  children: ReactNode;
}) {
  const path = usePathname();
  const here = path === href || (!exact && path.startsWith(`${href}/`)) || (also !== undefined && path.startsWith(`${also}/`));
  return (
    <Link
      href={href}
      aria-current={here ? "page" : undefined}
      className={classes(
        "whitespace-nowrap rounded-md px-3 py-1.5 text-sm font-medium text-soft hover:bg-sunken hover:text-ink",
        here && "bg-sunken text-ink",
        className,
      )}
    >
      {children}
    </Link>
  );
}
