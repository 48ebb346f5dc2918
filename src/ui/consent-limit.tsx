"use client";

import { useId, useRef, useState } from "react";
import { dollars } from "#money";
import { classes } from "./classes.ts";
import { control } from "./field.tsx";

/** The monthly limit: an amount, or none. `problem` is text that the user typed and that is no amount. */
export function ConsentLimit({ proposed, problem }: { proposed: bigint | null; problem?: string | undefined }) {
  const [limited, setLimited] = useState(proposed !== null || problem !== undefined);
  const amount = useRef<HTMLInputElement>(null);
  const id = useId();
  return (
    <fieldset>
      <legend className="text-sm font-medium">Monthly limit</legend>
      <div className="mt-2 grid gap-2">
        <div className="flex flex-wrap items-center gap-x-2 gap-y-1">
          <label className="flex items-center gap-2">
            <input
              type="radio"
              name="limited"
              value="yes"
              checked={limited}
              onChange={() => {
                setLimited(true);
                amount.current?.select();
              }}
              className="size-4 accent-accent"
            />
            At most
          </label>
          <input
            ref={amount}
            name="limit"
            inputMode="decimal"
            autoComplete="off"
            aria-label="Dollars a month"
            aria-invalid={problem === undefined ? undefined : true}
            aria-describedby={problem === undefined ? undefined : id}
            defaultValue={problem ?? dollars(proposed ?? 5_000_000n).replaceAll(",", "")}
            onFocus={() => setLimited(true)}
            className={classes(control, "h-10 w-24 text-right tabular-nums", !limited && "opacity-60")}
          />
          <span aria-hidden="true">a month</span>
        </div>
        {problem !== undefined && (
          <p id={id} role="alert" className="text-sm text-danger">
            Write an amount above zero, such as 5.00.
          </p>
        )}
        <label className="flex w-fit items-center gap-2">
          <input
            type="radio"
            name="limited"
            value="no"
            checked={!limited}
            onChange={() => setLimited(false)}
            className="size-4 accent-accent"
          />
          No limit
        </label>
      </div>
    </fieldset>
  );
}
