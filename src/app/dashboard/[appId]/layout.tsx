import type { Metadata } from "next";
import type { ReactNode } from "react";
import { currentUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { NavLink } from "#ui/nav-link.tsx";
import { NavStrip } from "#ui/nav-strip.tsx";
import { AppSwitcher } from "./app-switcher.tsx";

type Props = { params: Promise<{ appId: string }>; children: ReactNode };

/** The title of each page names its app, because several apps may be open in tabs side by side. */
export async function generateMetadata({ params }: Props): Promise<Metadata> {
  if ((await currentUser()) === null) return {};
  const app = await appOfPage((await params).appId).catch(() => null);
  // For every page below this layout.
  if (app === null) return { title: { template: NO_SUCH_APP, absolute: NO_SUCH_APP } };
  const { name } = app;
  return { title: { template: `%s · ${name} · Quota`, absolute: `${name} · Quota` } };
}

const NO_SUCH_APP = "No such app · Quota";

export default async function Layout({ params, children }: Props) {
  // Each page sends visitors to sign in, because it knows the address to return to.
  if ((await currentUser()) === null) return children;
  const { appId } = await params;
  const app = await appOfPage(appId);
  const apps = await (await caller()).apps.list();
  const home = `/dashboard/${app.id}`;
  return (
    <div className="mx-auto grid w-full max-w-6xl flex-1 grid-cols-[minmax(0,1fr)] content-start gap-x-8 px-4 sm:px-6 lg:grid-cols-[13rem_minmax(0,1fr)]">
      <aside className="pt-4 lg:py-8">
        <div className="lg:sticky lg:top-8">
          <AppSwitcher current={app} apps={apps.map(({ id, name, logoUrl }) => ({ id, name, logoUrl }))} />
          <NavStrip label={app.name}>
            {pages.map(({ path, name }) => (
              <NavLink key={path} href={home + path} exact={path === ""}>
                {name}
              </NavLink>
            ))}
            <NavLink href="/dashboard/wallet">Developer wallet</NavLink>
          </NavStrip>
        </div>
      </aside>
      <div className="min-w-0 py-6 lg:py-8">{children}</div>
    </div>
  );
}

const pages = [
  { path: "", name: "Overview" },
  { path: "/get-started", name: "Get started" },
  { path: "/api-keys", name: "API keys" },
  { path: "/linked-users", name: "Linked users" },
  { path: "/usage", name: "Usage" },
  { path: "/webhooks", name: "Webhooks" },
  { path: "/earnings", name: "Earnings" },
  { path: "/settings", name: "Settings" },
];
