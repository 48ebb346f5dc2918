"use client";

import { useState } from "react";
import { Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import { exactDollars, grouped } from "#money";
import { countLabel, dollarLabel, ticksUpTo } from "./chart-ticks.ts";
import { Segments } from "./segments.tsx";

export type ChartStep = {
  /** A day (`2026-11-22`) or the start of an hour, UTC. */
  at: string;
  requests: number;
  failed: number;
  promptTokens: number;
  completionTokens: number;
  base: bigint;
  markup: bigint;
};

type Series = { name: string; fill: string; of: (step: ChartStep) => number };
type Metric = { name: string; credits: boolean; series: Series[] };

const quiet = "var(--line-strong)";
const metrics = {
  cost: {
    name: "Cost",
    credits: true,
    series: [
      { name: "Your markup", fill: "var(--accent)", of: (step) => Number(step.markup) },
      { name: "Price of the models", fill: quiet, of: (step) => Number(step.base) },
    ],
  },
  earnings: {
    name: "Earnings",
    credits: true,
    series: [{ name: "Your markup", fill: "var(--accent)", of: (step) => Number(step.markup) }],
  },
  requests: {
    name: "Requests",
    credits: false,
    series: [
      { name: "Billed", fill: "var(--accent)", of: (step) => step.requests },
      { name: "Failed", fill: "var(--danger)", of: (step) => step.failed },
    ],
  },
  tokens: {
    name: "Tokens",
    credits: false,
    series: [
      { name: "Output", fill: "var(--accent)", of: (step) => step.completionTokens },
      { name: "Input", fill: quiet, of: (step) => step.promptTokens },
    ],
  },
} satisfies Record<string, Metric>;

export type MetricName = keyof typeof metrics;

/** Usage over time as bars, one metric at a time. A table below has the same figures. */
export function UsageChart({ steps, show, tall = false }: { steps: ChartStep[]; show: readonly MetricName[]; tall?: boolean }) {
  const [chosen, setChosen] = useState<MetricName>(show[0] ?? "cost");
  const metric: Metric = metrics[chosen];
  const data = steps.map((step) => ({ at: step.at, ...Object.fromEntries(metric.series.map((series) => [series.name, series.of(step)])) }));
  const most = Math.max(0, ...steps.map((step) => metric.series.reduce((sum, series) => sum + series.of(step), 0)));
  // Without usage the axis ends at a few cents or a count of 4.
  const ticks = ticksUpTo(most || (metric.credits ? 40_000 : 4));
  const label = (value: number) => (metric.credits ? dollarLabel(value, ticks[1] as number) : countLabel(value));
  const longest = Math.max(...ticks.map((tick) => label(tick).length));
  return (
    <figure aria-label="Usage over time">
      <div className="mb-3 flex flex-wrap items-center justify-between gap-x-6 gap-y-2">
        {show.length > 1 ? (
          <Segments
            label="What the chart shows"
            options={show.map((name) => ({ value: name, name: metrics[name].name }))}
            value={chosen}
            onChange={setChosen}
          />
        ) : (
          <span />
        )}
        <ul className="flex flex-wrap gap-x-4 gap-y-1 text-sm text-soft">
          {metric.series.map((series) => (
            <li key={series.name} className="flex items-center gap-2">
              <span className="size-2.5 rounded-xs" style={{ background: series.fill }} aria-hidden="true" />
              {series.name}
            </li>
          ))}
        </ul>
      </div>
      {/* A fixed height, so that the page does not move when the chart is drawn. */}
      <div className={tall ? "h-64" : "h-48"} aria-hidden="true">
        <ResponsiveContainer width="100%" height="100%" initialDimension={{ width: 1, height: tall ? 256 : 192 }}>
          <BarChart data={data} margin={{ top: 8, right: 0, bottom: 0, left: 0 }} barCategoryGap="20%" accessibilityLayer={false}>
            <CartesianGrid vertical={false} stroke="var(--line)" />
            <XAxis
              dataKey="at"
              tickFormatter={shortly}
              tick={{ fill: "var(--soft)", fontSize: 12 }}
              tickLine={false}
              axisLine={{ stroke: quiet }}
              minTickGap={28}
            />
            <YAxis
              width={longest * 7 + 12}
              tickFormatter={label}
              tick={{ fill: "var(--soft)", fontSize: 12 }}
              tickLine={false}
              axisLine={false}
              ticks={ticks}
              interval={0}
              domain={[0, ticks.at(-1) as number]}
            />
            <Tooltip
              cursor={{ fill: "var(--sunken)" }}
              isAnimationActive={false}
              content={({ active, label }) => {
                const step = active ? steps.find((each) => each.at === label) : undefined;
                return step === undefined ? null : <Card step={step} metric={metric} />;
              }}
            />
            {metric.series.map((series, n) => (
              <Bar
                key={series.name}
                dataKey={series.name}
                stackId="all"
                fill={series.fill}
                isAnimationActive={false}
                maxBarSize={36}
                radius={n === metric.series.length - 1 ? [2, 2, 0, 0] : 0}
              />
            ))}
          </BarChart>
        </ResponsiveContainer>
      </div>
      <details className="mt-3 text-sm">
        <summary className="w-fit cursor-pointer rounded-sm text-soft hover:text-ink">The figures as a table</summary>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll area has to be reachable by keyboard. */}
        <section className="mt-2 max-h-72 overflow-auto rounded-md border border-line" tabIndex={0} aria-label="Figures of the chart">
          <table className="w-full text-right tabular-nums">
            <caption className="sr-only">Usage over time, UTC</caption>
            <thead>
              <tr className="text-soft [&>th]:sticky [&>th]:top-0 [&>th]:bg-surface [&>th]:whitespace-nowrap [&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
                <th scope="col" className="text-left">
                  UTC
                </th>
                <th scope="col">Requests</th>
                <th scope="col">Failed</th>
                <th scope="col">Tokens in</th>
                <th scope="col">Tokens out</th>
                <th scope="col">Cost</th>
                <th scope="col">Earned</th>
              </tr>
            </thead>
            <tbody>
              {steps.map((step) => (
                <tr key={step.at} className="[&>*]:border-t [&>*]:border-line [&>*]:px-3 [&>*]:py-1">
                  <th scope="row" className="whitespace-nowrap text-left font-normal">
                    <time dateTime={step.at}>{fully(step.at)}</time>
                  </th>
                  <td>{grouped(step.requests)}</td>
                  <td>{grouped(step.failed)}</td>
                  <td>{grouped(step.promptTokens)}</td>
                  <td>{grouped(step.completionTokens)}</td>
                  <td>
                    <data value={String(step.base + step.markup)}>{exactDollars(step.base + step.markup)}</data>
                  </td>
                  <td>
                    <data value={String(step.markup)}>{exactDollars(step.markup)}</data>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      </details>
    </figure>
  );
}

function Card({ step, metric }: { step: ChartStep; metric: Metric }) {
  const exact = (value: number) => (metric.credits ? exactDollars(BigInt(value)) : grouped(value));
  return (
    <div className="rounded-md border border-line bg-surface px-3 py-2 text-sm shadow-lg">
      <p className="font-medium">{fully(step.at)}</p>
      {metric.series.toReversed().map((series) => (
        <p key={series.name} className="flex items-center justify-between gap-4">
          <span className="flex items-center gap-2 text-soft">
            <span className="size-2 rounded-xs" style={{ background: series.fill }} />
            {series.name}
          </span>
          <span className="tabular-nums">{exact(series.of(step))}</span>
        </p>
      ))}
    </div>
  );
}

function written(at: string, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(new Date(at));
}

function shortly(at: string): string {
  return at.length > 10 ? written(at, { hour: "2-digit", minute: "2-digit" }) : written(at, { day: "numeric", month: "short" });
}

function fully(at: string): string {
  return at.length > 10
    ? written(at, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })
    : written(at, { day: "numeric", month: "short", year: "numeric" });
}
