"use client";

import { useRouter } from "next/navigation";
import { useId, useTransition } from "react";
import { Button } from "#ui/button.tsx";
import { classes } from "#ui/classes.ts";
import { control } from "#ui/field.tsx";

/** Filters the statement by app, in the address; and downloads it as a file. */
export function StatementTools({ apps, appId }: { apps: { id: string; name: string }[]; appId: string | null }) {
  const router = useRouter();
  const [busy, startTransition] = useTransition();
  const id = useId();
  const query = appId === null ? "" : `?app=${appId}`;
  return (
    <div className="mb-3 flex flex-wrap items-center justify-between gap-3">
      <div className="flex min-w-0 items-center gap-2 text-sm">
        <label htmlFor={id} className="text-soft">
          App
        </label>
        <select
          id={id}
          value={appId ?? ""}
          aria-busy={busy}
          onChange={(event) => {
            const chosen = event.target.value;
            startTransition(() => router.push(chosen === "" ? "/wallet" : `/wallet?app=${chosen}`, { scroll: false }));
          }}
          className={classes(control, "h-8 w-44 min-w-0 px-2 text-sm")}
        >
          <option value="">Everything</option>
          {apps.map((app) => (
            <option key={app.id} value={app.id}>
              {app.name}
            </option>
          ))}
        </select>
      </div>
      <Button asChild size="small">
        <a href={`/wallet/statement.csv${query}`} download>
          Download CSV
        </a>
      </Button>
    </div>
  );
}
