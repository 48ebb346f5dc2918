import { cva } from "class-variance-authority";

/** Classes of a button, for links and for buttons that do without `Button`'s code. */
export const look = cva(
  "inline-flex shrink-0 items-center justify-center gap-2 whitespace-nowrap rounded-md font-medium transition-colors disabled:cursor-not-allowed disabled:opacity-55 aria-disabled:cursor-not-allowed aria-disabled:opacity-55",
  {
    variants: {
      /** `primary` is for the main action of a screen. */
      kind: {
        primary: "bg-accent text-on-accent hover:bg-accent-hover",
        secondary: "border border-line-strong/60 bg-surface text-ink hover:bg-sunken",
        quiet: "text-soft hover:bg-sunken hover:text-ink",
        danger: "bg-danger text-on-danger hover:bg-danger-hover",
      },
      size: {
        regular: "h-10 px-4 text-sm",
        small: "h-8 px-3 text-sm",
      },
    },
    defaultVariants: { kind: "secondary", size: "regular" },
  },
);
