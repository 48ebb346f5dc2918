"use client";

import { useRouter } from "next/navigation";
import { useTransition } from "react";
import { Button } from "#ui/button.tsx";
import { classes } from "#ui/classes.ts";
import { control } from "#ui/field.tsx";

/** Which app's movements are listed, kept in the address; and all of them as a file. */
export function StatementTools({ apps, appId }: { apps: { id: string; name: string }[]; appId: string | null }) {
  const router = useRouter();
  const [busy, startTransition] = useTransition();
  const query = appId === null ? "" : `?app=${appId}`;
  return (
    <div className="mb-3 flex flex-wrap items-center justify-between gap-3">
      <label className="flex min-w-0 items-center gap-2 text-sm">
        <span className="text-soft">App</span>
        <select
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
      </label>
      <Button asChild size="small">
        <a href={`/wallet/statement.csv${query}`} download>
          Download CSV
        </a>
      </Button>
    </div>
  );
}
