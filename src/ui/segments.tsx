"use client";

import { segmentLook, segmentsLook } from "./segment-look.ts";

type Props<Value extends string> = {
  label: string;
  options: readonly { value: Value; name: string }[];
  value: Value;
  onChange: (value: Value) => void;
};

/** A choice between a few options, all visible. */
export function Segments<Value extends string>({ label, options, value, onChange }: Props<Value>) {
  return (
    <fieldset className={segmentsLook}>
      <legend className="sr-only">{label}</legend>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          aria-pressed={option.value === value}
          onClick={() => onChange(option.value)}
          className={segmentLook(option.value === value)}
        >
          {option.name}
        </button>
      ))}
    </fieldset>
  );
}
