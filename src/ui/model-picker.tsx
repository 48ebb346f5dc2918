"use client";

import { useState } from "react";
import { Choice, Choices } from "./choice.tsx";
import { classes } from "./classes.ts";
import { control } from "./field.tsx";

type Props = { name: string; ids: string[]; value: string[]; onChange: (ids: string[]) => void; error?: string | undefined };

/** Any model, or only the ticked ones. No model ticked means any. */
export function ModelPicker({ name, ids, value, onChange, error }: Props) {
  const [some, setSome] = useState(value.length > 0);
  const [search, setSearch] = useState("");
  const chosen = new Set(value);
  const listed = ids.filter((id) => id.toLowerCase().includes(search.trim().toLowerCase()));
  return (
    <div className="space-y-2">
      <Choices legend="Models" error={error}>
        <Choice
          type="radio"
          name={name}
          title="Any model"
          says="People can still allow fewer."
          checked={!some}
          onChange={() => {
            setSome(false);
            onChange([]);
          }}
        />
        <Choice
          type="radio"
          name={name}
          title="Only some"
          says="Requests for others are refused."
          checked={some}
          onChange={() => setSome(true)}
        />
      </Choices>
      {some && (
        <div className="rounded-md border border-line">
          <input
            type="search"
            aria-label="Find a model"
            placeholder="Find a model"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
            // Enter in the search must not submit the form around it.
            onKeyDown={(event) => event.key === "Enter" && event.preventDefault()}
            className={classes(control, "h-9 rounded-b-none border-0 border-b border-line text-sm")}
          />
          <fieldset className="max-h-56 overflow-y-auto p-1">
            <legend className="sr-only">Models this app may use</legend>
            {listed.map((id) => (
              <label key={id} className="flex items-center gap-3 rounded px-2 py-1.5 text-sm hover:bg-sunken">
                <input
                  type="checkbox"
                  checked={chosen.has(id)}
                  onChange={(event) => onChange(event.target.checked ? [...value, id] : value.filter((each) => each !== id))}
                  className="size-4 shrink-0 accent-accent"
                />
                <code className="font-mono text-[0.8125rem] [overflow-wrap:anywhere]">{id}</code>
              </label>
            ))}
            {listed.length === 0 && <p className="px-2 py-1.5 text-sm text-soft">No model has that in its name.</p>}
          </fieldset>
          <p role="status" className="border-t border-line px-3 py-1.5 text-sm text-soft">
            {value.length === 0 ? "None ticked yet, so any is allowed." : `${value.length} of ${ids.length} allowed.`}
          </p>
        </div>
      )}
    </div>
  );
}
