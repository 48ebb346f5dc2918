import fc from "fast-check";

/**
 * Checks a property until it has run `runs` times or for `withinMs`. When time ends it, prints the number
 * of runs, and fails when those are fewer than `floor`.
 */
export async function holdsInEveryRun<T>(
  property: fc.IAsyncProperty<T>,
  { runs, floor, withinMs }: { runs: number; floor: number; withinMs: number },
): Promise<void> {
  const startedAt = performance.now();
  const details = await fc.check(property, { numRuns: runs, interruptAfterTimeLimit: withinMs });
  // The time limit may also end the search for a smaller counterexample.
  if (details.failed && (details.counterexample !== null || !details.interrupted))
    throw new Error(fc.defaultReportMessage(details), { cause: details.errorInstance });
  if (!details.interrupted) return;
  const made = `${details.numRuns} of ${runs} runs in ${Math.round(performance.now() - startedAt)} ms`;
  if (details.numRuns < floor) throw new Error(`only ${made}; at least ${floor} are needed`);
  console.info(`stopped for time: ${made}`);
}
