"use client";

import { type Overlap, overlaps } from "#server/trpc/fields.ts";
import { SelectField } from "#ui/field.tsx";

/** A field for how long the replaced key or secret keeps working. */
export function OverlapField({ label, hint }: { label: string; hint?: string | undefined }) {
  return (
    <SelectField label={label} name="overlap" defaultValue="day" hint={hint}>
      {Object.entries(overlaps).map(([name, { words }]) => (
        <option key={name} value={name}>
          {words}
        </option>
      ))}
    </SelectField>
  );
}

/** The choice in a form with that field. */
export function overlapIn(form: HTMLFormElement): Overlap {
  return String(new FormData(form).get("overlap")) as Overlap;
}
