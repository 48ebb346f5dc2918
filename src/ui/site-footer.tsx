import Link from "next/link";
import { Mark } from "./mark.tsx";

/** Links to other pages, at the end of public pages. */
export function SiteFooter() {
  return (
    <footer className="border-t border-line">
      <div className="mx-auto flex w-full max-w-6xl flex-wrap items-center gap-x-6 gap-y-3 px-4 py-6 text-sm text-soft sm:px-6">
        <span className="flex items-center gap-2 font-medium text-ink">
          <Mark size={18} />
          Quota
        </span>
        <nav aria-label="Footer" className="flex flex-wrap gap-x-5 gap-y-1">
          <Link prefetch={false} href="/docs" className="hover:text-ink hover:underline">
            Docs
          </Link>
          <Link prefetch={false} href="/docs/api" className="hover:text-ink hover:underline">
            API
          </Link>
          <Link prefetch={false} href="/docs/security" className="hover:text-ink hover:underline">
            Security
          </Link>
          <Link prefetch={false} href="/docs/self-hosting" className="hover:text-ink hover:underline">
            Run your own
          </Link>
          <a href="/llms.txt" className="hover:text-ink hover:underline">
            llms.txt
          </a>
        </nav>
        <span className="sm:ml-auto">MIT licence</span>
      </div>
    </footer>
  );
}
