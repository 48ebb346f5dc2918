"use client";

import { Search } from "lucide-react";
import { classes } from "./classes.ts";
import { control } from "./field.tsx";

type Props = { label: string; placeholder?: string; value: string; onChange: (text: string) => void; className?: string };

/** A field that filters the list below it with each letter. */
export function SearchField({ label, placeholder, value, onChange, className }: Props) {
  return (
    <div className={classes("relative", className)}>
      <Search size={16} aria-hidden="true" className="pointer-events-none absolute left-3 top-3 text-soft" />
      <input
        type="search"
        aria-label={label}
        placeholder={placeholder}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        className={classes(control, "h-10 pl-9")}
      />
    </div>
  );
}
