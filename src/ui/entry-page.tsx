import Link from "next/link";
import type { ReactNode } from "react";
import { Mark } from "./mark.tsx";

/** A page for signing in, signing up and the like: one short form, and links to the others below. */
export function EntryPage({ title, children, below }: { title: string; children: ReactNode; below?: ReactNode }) {
  return (
    <main className="mx-auto flex w-full max-w-sm flex-1 flex-col justify-center px-4 py-12">
      <Link href="/" aria-label="Quota, start page" className="self-start rounded-md">
        <Mark size={36} />
      </Link>
      <h1 className="mt-6 text-2xl font-semibold tracking-tight">{title}</h1>
      {children}
      {below && <div className="mt-6 space-y-1 text-sm text-soft">{below}</div>}
    </main>
  );
}
