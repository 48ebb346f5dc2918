import { classes } from "./classes.ts";

/** An app's logo, or the first letter of its name. The name stands beside it. */
export function AppTile({ name, logoUrl, small = false }: { name: string; logoUrl?: string | null; small?: boolean }) {
  const size = small ? "size-6 rounded text-xs" : "size-10 rounded-lg text-base";
  // An <img>, because next/image would have this server fetch the app's address.
  if (logoUrl) return <img src={logoUrl} alt="" referrerPolicy="no-referrer" className={classes("shrink-0 object-cover", size)} />;
  return (
    <span
      aria-hidden="true"
      className={classes("flex shrink-0 items-center justify-center bg-accent-wash font-semibold text-accent", size)}
    >
      {[...name][0]?.toUpperCase()}
    </span>
  );
}
