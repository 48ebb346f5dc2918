import { CopyButton } from "./copy-button.tsx";

/** A secret that is shown once, or other text to copy. */
export function CopyBox({ label, text }: { label: string; text: string }) {
  return (
    <div>
      <p className="mb-1.5 text-sm font-medium">{label}</p>
      <div className="flex items-center gap-2 rounded-md border border-line bg-sunken py-1.5 pl-3 pr-1.5">
        <code className="min-w-0 flex-1 select-all break-all font-mono text-[0.8125rem] leading-5">{text}</code>
        <CopyButton text={text} what={label} />
      </div>
    </div>
  );
}

/** Says that `what` is shown only this once. */
export function ShownOnce({ what }: { what: string }) {
  return (
    <p className="rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
      This is the only time that {what} is shown. Quota keeps no copy of it, so put it where your server reads its secrets.
    </p>
  );
}
