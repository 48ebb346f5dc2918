"use client";

import { type ComponentProps, type ReactNode, useId } from "react";
import { classes } from "./classes.ts";

/** Radio buttons or checkboxes for one question, which is `legend`. */
export function Choices({
  legend,
  hint,
  error,
  children,
}: {
  legend: string;
  hint?: ReactNode;
  error?: string | undefined;
  children: ReactNode;
}) {
  return (
    <fieldset>
      <legend className="mb-1.5 text-sm font-medium">{legend}</legend>
      <div className="space-y-2">{children}</div>
      {error !== undefined && (
        <p role="alert" className="mt-1.5 text-sm leading-5 text-danger">
          {error}
        </p>
      )}
      {hint !== undefined && <p className="mt-1.5 text-sm leading-5 text-soft">{hint}</p>}
    </fieldset>
  );
}

type ChoiceProps = Omit<ComponentProps<"input">, "title"> & { type: "radio" | "checkbox"; title: ReactNode; says?: ReactNode };

/** A radio button or checkbox with a sentence that explains it. */
export function Choice({ title, says, className, ...input }: ChoiceProps) {
  const id = useId();
  return (
    <label
      className={classes(
        "flex gap-3 rounded-md border border-line p-3 has-checked:border-accent has-checked:bg-accent-wash has-disabled:opacity-60 has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent",
        className,
      )}
    >
      <input
        aria-labelledby={`${id}-title`}
        aria-describedby={says === undefined ? undefined : `${id}-says`}
        className="mt-1 size-4 shrink-0 accent-accent outline-none"
        {...input}
      />
      <span className="min-w-0">
        <span id={`${id}-title`} className="block text-sm font-medium">
          {title}
        </span>
        {says !== undefined && (
          <span id={`${id}-says`} className="block text-sm leading-5 text-soft">
            {says}
          </span>
        )}
      </span>
    </label>
  );
}
