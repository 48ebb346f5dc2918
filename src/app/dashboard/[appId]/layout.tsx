import type { ReactNode } from "react";
import { currentUser } from "#server/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { NavLink } from "#ui/nav-link.tsx";
import { AppSwitcher } from "./app-switcher.tsx";

export default async function Layout({ params, children }: { params: Promise<{ appId: string }>; children: ReactNode }) {
  // Each page sends visitors to sign in, and knows the address to come back to.
  if ((await currentUser()) === null) return children;
  const { appId } = await params;
  const app = await appOfPage(appId);
  const apps = await (await caller()).apps.list();
  const home = `/dashboard/${app.id}`;
  return (
    <div className="mx-auto grid w-full max-w-6xl flex-1 grid-cols-[minmax(0,1fr)] content-start gap-x-8 px-4 sm:px-6 lg:grid-cols-[13rem_minmax(0,1fr)]">
      <aside className="pt-4 lg:py-8">
        <AppSwitcher current={app} apps={apps.map(({ id, name }) => ({ id, name }))} />
        <nav
          aria-label={app.name}
          className="-mx-4 mt-2 flex overflow-x-auto border-b border-line px-2 pb-2 sm:gap-1 sm:px-4 max-sm:[&>a]:px-2 max-sm:[&>a]:text-[0.8125rem] lg:mx-0 lg:mt-4 lg:flex-col lg:border-b-0 lg:px-0"
        >
          <NavLink href={home} exact>
            Overview
          </NavLink>
          <NavLink href={`${home}/api-keys`}>API keys</NavLink>
          <NavLink href={`${home}/linked-users`}>Linked users</NavLink>
          <NavLink href={`${home}/usage`}>Usage</NavLink>
          <NavLink href={`${home}/earnings`}>Earnings</NavLink>
          <NavLink href={`${home}/settings`}>Settings</NavLink>
          <NavLink href="/dashboard/wallet">Developer wallet</NavLink>
        </nav>
      </aside>
      <div className="min-w-0 py-6 lg:py-8">{children}</div>
    </div>
  );
}
