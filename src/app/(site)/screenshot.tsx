import type { ReactNode } from "react";

/** A picture of the running product, made by `npm run screenshots`, in the visitor's colours. */
export function Screenshot(picture: { name: string; width: number; height: number; alt: string; children: ReactNode }) {
  const { name, width, height, alt, children } = picture;
  return (
    <figure className="min-w-0">
      <picture>
        <source srcSet={`/screenshots/${name}-dark.webp`} media="(prefers-color-scheme: dark)" />
        <img
          src={`/screenshots/${name}-light.webp`}
          width={width}
          height={height}
          alt={alt}
          loading="lazy"
          decoding="async"
          className="h-auto w-full rounded-lg border border-line"
        />
      </picture>
      <figcaption className="mt-3 text-pretty text-sm leading-5 text-soft">{children}</figcaption>
    </figure>
  );
}
