"use client";

import { type ComponentProps, type ReactNode, useEffect, useId, useRef } from "react";
import { classes } from "./classes.ts";

export const control =
  "w-full rounded-md border border-line-strong/70 bg-surface px-3 text-ink placeholder:text-soft/80 focus-visible:border-accent focus-visible:outline-offset-0 aria-invalid:border-danger disabled:opacity-60";

type Around = { label: string; hint?: ReactNode; error?: string | undefined; optional?: boolean };

/** A labelled input; its error is below it and is read out with it. */
export function TextField({
  label,
  hint,
  error,
  optional,
  className,
  suffix,
  ...props
}: Around & { suffix?: string } & ComponentProps<"input">) {
  const ids = useFieldIds(hint, error);
  return (
    <Field ids={ids} label={label} hint={hint} error={error} optional={optional}>
      <span className={classes("relative block", className)}>
        <input {...ids.control} className={classes(control, "h-10", suffix && "pr-9")} {...props} />
        {suffix && (
          <span aria-hidden="true" className="pointer-events-none absolute inset-y-0 right-3 flex items-center text-soft">
            {suffix}
          </span>
        )}
      </span>
    </Field>
  );
}

export function TextAreaField({ label, hint, error, optional, className, ...props }: Around & ComponentProps<"textarea">) {
  const ids = useFieldIds(hint, error);
  return (
    <Field ids={ids} label={label} hint={hint} error={error} optional={optional}>
      <textarea {...ids.control} className={classes(control, "py-2", className)} {...props} />
    </Field>
  );
}

export function SelectField({ label, hint, error, optional, className, children, ...props }: Around & ComponentProps<"select">) {
  const ids = useFieldIds(hint, error);
  return (
    <Field ids={ids} label={label} hint={hint} error={error} optional={optional}>
      <select {...ids.control} className={classes(control, "h-10", className)} {...props}>
        {children}
      </select>
    </Field>
  );
}

type Ids = { label: string; hint: string; error: string; control: { id: string; "aria-describedby"?: string; "aria-invalid"?: true } };

function useFieldIds(hint: ReactNode, error: string | undefined): Ids {
  const id = useId();
  const described = [error !== undefined && `${id}-error`, hint !== undefined && `${id}-hint`].filter(Boolean).join(" ");
  return {
    label: id,
    hint: `${id}-hint`,
    error: `${id}-error`,
    control: { id, "aria-describedby": described || undefined, "aria-invalid": error === undefined ? undefined : true },
  };
}

function Field({ ids, label, hint, error, optional, children }: Around & { ids: Ids; children: ReactNode }) {
  return (
    <div>
      <label htmlFor={ids.label} className="mb-1.5 block text-sm font-medium">
        {label}
        {optional && <span className="font-normal text-soft"> (optional)</span>}
      </label>
      {children}
      {error !== undefined && (
        <p id={ids.error} role="alert" className="mt-1.5 text-sm leading-5 text-danger [overflow-wrap:anywhere]">
          {error}
        </p>
      )}
      {hint !== undefined && (
        <p id={ids.hint} className="mt-1.5 text-sm leading-5 text-soft">
          {hint}
        </p>
      )}
    </div>
  );
}

/** The error of a whole form; read out and scrolled into view when it appears. */
export function FormError({ children }: { children: string }) {
  const text = useRef<HTMLParagraphElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another sentence has to be scrolled into view too.
  useEffect(() => {
    text.current?.scrollIntoView({ block: "nearest" });
  }, [children]);
  return (
    <p ref={text} role="alert" className="rounded-md bg-danger-wash px-3 py-2 text-sm text-danger empty:hidden">
      {children}
    </p>
  );
}
