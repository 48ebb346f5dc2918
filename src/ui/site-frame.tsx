import Link from "next/link";
import type { ReactNode } from "react";
import { Button } from "./button.tsx";
import { Mark } from "./mark.tsx";
import { NavLink } from "./nav-link.tsx";
import { SignOutButton } from "./sign-out-button.tsx";

/** The header and frame of every page. */
export function SiteFrame({ user, footer, children }: { user: { email: string } | null; footer?: ReactNode; children: ReactNode }) {
  return (
    <>
      <a
        href="#content"
        className="sr-only rounded-md bg-accent px-4 py-2 text-sm font-medium text-on-accent focus:not-sr-only focus:absolute focus:left-4 focus:top-2 focus:z-50"
      >
        Skip to content
      </a>
      <header className="border-b border-line bg-surface">
        <div className="mx-auto flex h-14 w-full max-w-6xl items-center gap-1 px-4 sm:gap-2 sm:px-6">
          <Link href="/" className="mr-1 flex items-center gap-2 rounded-md font-semibold tracking-tight sm:mr-3">
            <Mark />
            <span className={user ? "max-sm:sr-only" : undefined}>Quota</span>
          </Link>
          <nav aria-label="Main" className="flex gap-1">
            {user && (
              <>
                <NavLink href="/wallet">Wallet</NavLink>
                <NavLink href="/dashboard">Dashboard</NavLink>
              </>
            )}
            <NavLink href="/docs" prefetch={false} className={user ? "max-sm:hidden" : undefined}>
              Docs
            </NavLink>
          </nav>
          <div className="ml-auto flex min-w-0 items-center gap-1 sm:gap-2">
            {user ? (
              <>
                <span className="hidden truncate text-sm text-soft md:block" title="Signed in">
                  {user.email}
                </span>
                <SignOutButton />
              </>
            ) : (
              <>
                <Button asChild kind="quiet" size="small">
                  <Link href="/sign-up" prefetch={false}>
                    Sign up
                  </Link>
                </Button>
                <Button asChild size="small">
                  <Link href="/sign-in" prefetch={false}>
                    Sign in
                  </Link>
                </Button>
              </>
            )}
          </div>
        </div>
      </header>
      <main id="content" tabIndex={-1} className="flex flex-1 flex-col outline-none">
        {children}
      </main>
      {footer}
    </>
  );
}
