import { dollars, exactly } from "#money";
import { classes } from "./classes.ts";

/** An amount in dollars, with the exact credits on hover. `signed` puts a plus before incoming amounts. */
export function Money({ credits, signed = false, className }: { credits: bigint; signed?: boolean; className?: string }) {
  return (
    <data value={String(credits)} title={exactly(credits)} className={classes("whitespace-nowrap tabular-nums", className)}>
      {signed && credits > 0n && "+"}
      {dollars(credits)}
    </data>
  );
}
