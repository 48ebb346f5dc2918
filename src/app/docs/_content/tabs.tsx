"use client";

import { Tabs as RadixTabs } from "radix-ui";
import type { ReactNode } from "react";
import { CopyButton } from "#ui/copy-button.tsx";

/** Tabs of code; `text` is what the copy button copies. */
export function Tabs({ label, tabs }: { label: string; tabs: readonly { name: string; text: string; content: ReactNode }[] }) {
  return (
    <RadixTabs.Root defaultValue={tabs[0]?.name} className="my-5 overflow-hidden rounded-lg border border-line bg-surface">
      <RadixTabs.List aria-label={label} className="flex overflow-x-auto border-b border-line px-2">
        {tabs.map(({ name }) => (
          <RadixTabs.Trigger
            key={name}
            value={name}
            className="-mb-px whitespace-nowrap border-b-2 border-transparent px-3 py-2 text-[0.8125rem] text-soft hover:text-ink data-[state=active]:border-accent data-[state=active]:text-ink"
          >
            {name}
          </RadixTabs.Trigger>
        ))}
      </RadixTabs.List>
      {tabs.map(({ name, text, content }) => (
        <RadixTabs.Content key={name} value={name} className="relative">
          <div className="absolute right-1 top-1 bg-surface">
            <CopyButton text={text} what={`the ${name} version`} kind="quiet" />
          </div>
          {content}
        </RadixTabs.Content>
      ))}
    </RadixTabs.Root>
  );
}
