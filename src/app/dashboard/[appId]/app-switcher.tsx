"use client";

import { Check, ChevronsUpDown } from "lucide-react";
import Link from "next/link";
import { DropdownMenu } from "radix-ui";
import { AppTile } from "#ui/app-tile.tsx";

type App = { id: string; name: string; logoUrl: string | null };

const item = "flex items-center gap-2.5 rounded-md px-2 py-1.5 text-sm outline-none data-highlighted:bg-sunken";

export function AppSwitcher({ current, apps }: { current: App; apps: App[] }) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger className="flex w-full items-center gap-2.5 rounded-md border border-line bg-surface p-2 text-left text-sm font-medium hover:bg-sunken">
        <AppTile name={current.name} logoUrl={current.logoUrl} small />
        <span className="min-w-0 flex-1 truncate" title={current.name}>
          <span className="sr-only">App: </span>
          {current.name}
        </span>
        <ChevronsUpDown size={16} className="text-soft" aria-hidden="true" />
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="start"
          sideOffset={4}
          className="z-40 max-h-[60dvh] w-(--radix-dropdown-menu-trigger-width) min-w-52 overflow-y-auto rounded-lg border border-line bg-surface p-1 shadow-lg"
        >
          {apps.map((app) => (
            <DropdownMenu.Item key={app.id} asChild className={item}>
              <Link href={`/dashboard/${app.id}`} aria-current={app.id === current.id ? "true" : undefined}>
                <AppTile name={app.name} logoUrl={app.logoUrl} small />
                <span className="min-w-0 flex-1 truncate">{app.name}</span>
                {app.id === current.id && <Check size={16} className="text-accent" aria-hidden="true" />}
              </Link>
            </DropdownMenu.Item>
          ))}
          <DropdownMenu.Separator className="my-1 h-px bg-line" />
          <DropdownMenu.Item asChild className={item}>
            <Link href="/dashboard">All apps</Link>
          </DropdownMenu.Item>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
