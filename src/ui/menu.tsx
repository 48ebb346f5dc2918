"use client";

import { ChevronDown } from "lucide-react";
import { DropdownMenu as Radix } from "radix-ui";
import type { ReactNode, RefObject } from "react";
import { Button } from "./button.tsx";
import { classes } from "./classes.ts";
import { useReady } from "./use-ready.ts";

type Props = { name: string; label: string; buttonRef: RefObject<HTMLButtonElement | null>; children: ReactNode };

/** A button that opens a list of actions. `label` tells screen readers what the actions are about. */
export function Menu({ name, label, buttonRef, children }: Props) {
  const ready = useReady();
  return (
    <Radix.Root modal={false}>
      <Radix.Trigger asChild>
        <Button ref={buttonRef} size="small" aria-label={label} disabled={!ready}>
          {name}
          <ChevronDown size={14} aria-hidden="true" />
        </Button>
      </Radix.Trigger>
      <Radix.Portal>
        <Radix.Content align="end" sideOffset={4} className="z-30 min-w-44 rounded-lg border border-line bg-surface p-1 shadow-lg">
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

export function MenuItem({ danger = false, onSelect, children }: { danger?: boolean; onSelect: () => void; children: ReactNode }) {
  return (
    <Radix.Item
      onSelect={onSelect}
      className={classes("rounded-md px-3 py-2 text-sm outline-none data-highlighted:bg-sunken", danger && "text-danger")}
    >
      {children}
    </Radix.Item>
  );
}
