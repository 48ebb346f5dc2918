/**
 * Which folder may import which. A file belongs to the room with the longest `path` that contains it, and may import
 * its own room and those in `uses`. Each room in `uses` is above it in this list, so no two rooms can import each
 * other. `npm run lint` checks every import (`imports.ts`); docs/architecture.md has a drawing.
 * `loadsByPath`: may also import modules whose paths are computed at run time, which cannot be checked.
 */
export type Room = { path: string; uses: readonly string[]; loadsByPath?: true };

const settings = ["src/database-url.ts", "src/env.ts", "src/generated"];
const money = "src/money.ts";
const platform = [...settings, money, "src/server/platform"];
const facts = ["ledger", "pricing", "apps", "webhooks", "usage"].map(ofServer);
const useCases = ["gateway", "connect", "payments"].map(ofServer);
const belowDoors = [...platform, ...facts, ...useCases];

export const rooms: readonly Room[] = [
  { path: "src/database-url.ts", uses: [] },
  { path: "src/env.ts", uses: ["src/database-url.ts"] },
  { path: "src/generated", uses: [] },
  // Formats amounts, for pages and for texts of the server.
  { path: money, uses: [] },
  { path: "src/server/platform", uses: settings },

  // Facts don't import each other: code that needs two of them is a use case.
  ...facts.map((path) => ({ path, uses: platform })),

  // Use cases don't import each other: a door combines them.
  { path: "src/server/gateway/simulator", uses: [...platform, "src/server/pricing"] },
  { path: "src/server/gateway", uses: [...platform, ...facts, "src/server/gateway/simulator"] },
  { path: "src/server/connect", uses: [...platform, ...facts] },
  { path: "src/server/payments", uses: [...platform, ...facts] },

  // Deleting an account deletes rows of use cases, so `people` is above them.
  { path: "src/server/people", uses: belowDoors },
  { path: "src/server/http", uses: belowDoors },
  { path: "src/server/trpc", uses: [...belowDoors, "src/server/people", "src/server/http"] },
  { path: "src/server/jobs", uses: [...belowDoors, "src/server/people", "src/server/http"] },
  { path: "prisma", uses: [...belowDoors, "src/server/people"] },

  // Components get all data as props.
  { path: "src/ui", uses: [money] },
  { path: "src/trpc", uses: ["src/server/trpc"] },
  { path: "src/app", uses: [...belowDoors, "src/server/people", "src/server/http", "src/server/trpc", "src/ui", "src/trpc"] },

  // Loads the doors of src/app by their paths on disk, so it imports none of them.
  { path: "src/server/start", uses: [...belowDoors, "src/server/people", "src/server/http", "prisma"], loadsByPath: true },
  { path: "src/server/main.ts", uses: [...belowDoors, "src/server/jobs", "src/server/start", "prisma"] },

  // The product does not import test helpers; those may import all of it except main.ts and the pages.
  {
    path: "src/testing",
    uses: [...belowDoors, "src/server/people", "src/server/http", "src/server/start", "src/app", "prisma"],
    loadsByPath: true,
  },
];

function ofServer(name: string): string {
  return `src/server/${name}`;
}

export function roomOf(file: string): Room | undefined {
  return rooms.filter(({ path }) => isUnder(file, path)).sort((a, b) => b.path.length - a.path.length)[0];
}

function isUnder(file: string, path: string): boolean {
  return file === path || file.startsWith(`${path}/`);
}
