"use client";

import { Tabs as Radix } from "radix-ui";
import type { ReactNode } from "react";

/** Tabs; the arrow keys move between them. */
export function Tabs({ label, tabs }: { label: string; tabs: { id: string; name: string; content: ReactNode }[] }) {
  return (
    <Radix.Root defaultValue={tabs[0]?.id}>
      <Radix.List aria-label={label} className="mb-3 flex gap-0.5 overflow-x-auto rounded-lg bg-sunken p-0.5 sm:w-fit">
        {tabs.map(({ id, name }) => (
          <Radix.Trigger
            key={id}
            value={id}
            className="h-8 whitespace-nowrap rounded-md px-3 text-sm font-medium text-soft hover:text-ink data-[state=active]:bg-surface data-[state=active]:text-ink data-[state=active]:shadow-xs data-[state=active]:ring-1 data-[state=active]:ring-line max-sm:flex-1 -outline-offset-2"
          >
            {name}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {tabs.map(({ id, content }) => (
        <Radix.Content key={id} value={id} tabIndex={-1}>
          {content}
        </Radix.Content>
      ))}
    </Radix.Root>
  );
}
