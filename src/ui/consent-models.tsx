"use client";

import { useState } from "react";

type Props = { appName: string; ids: string[]; ofThisApp: boolean; ticked: string[] };

/** The models that the app may use, behind a disclosure that names the choice. No model ticked means any. */
export function ConsentModels({ appName, ids, ofThisApp, ticked }: Props) {
  const [chosen, setChosen] = useState(ids.filter((id) => ticked.includes(id)).length);
  // Models that were ticked and exist no more: shown open, because no tick would mean any model, which the user did not choose.
  const gone = ticked.length > 0 && !ids.some((id) => ticked.includes(id));
  const all = ofThisApp ? `any of the ${ids.length} this app uses` : "any";
  return (
    <details className="mt-4" open={gone}>
      <summary className="w-fit cursor-pointer rounded text-sm">
        <span className="font-medium">Models:</span> {chosen === 0 ? all : `only ${chosen} of ${ids.length}`}
      </summary>
      {gone && chosen === 0 && (
        <p role="alert" className="mt-2 text-sm text-danger">
          None of the models you chose is there any more. Tick others, or any may be used.
        </p>
      )}
      <fieldset
        className="mt-2 max-h-56 overflow-y-auto rounded-md border border-line p-3"
        onChange={(event) => setChosen(event.currentTarget.querySelectorAll(":checked").length)}
      >
        <legend className="sr-only">Models {appName} may use</legend>
        <p className="mb-2 text-sm text-soft">Tick some to allow only those. With none ticked, any is allowed.</p>
        <div className="grid gap-x-4 sm:grid-cols-2">
          {ids.map((id) => (
            <label key={id} className="flex min-w-0 items-center gap-2 py-1 text-sm">
              <input
                type="checkbox"
                name="model"
                value={id}
                defaultChecked={ticked.includes(id)}
                className="size-4 shrink-0 accent-accent"
              />
              <span className="truncate font-mono text-[0.8125rem]" title={id}>
                {id}
              </span>
            </label>
          ))}
        </div>
      </fieldset>
    </details>
  );
}
