/** Long lists of which only what is seen exists. */

import { elementScroll, observeElementOffset, observeElementRect, Virtualizer, type VirtualizerOptions } from "@tanstack/virtual-core";
import { useLayoutEffect, useReducer, useState } from "preact/hooks";

type Options = Pick<VirtualizerOptions<HTMLElement, HTMLElement>, "count" | "getScrollElement" | "estimateSize" | "overscan"> &
  Partial<Pick<VirtualizerOptions<HTMLElement, HTMLElement>, "scrollMargin" | "getItemKey" | "anchorTo">>;

/** Knows which of `count` items of uneven size are to be seen. */
export function useVirtual(options: Options): Virtualizer<HTMLElement, HTMLElement> {
  const [, render] = useReducer((times: number) => times + 1, 0);
  const whole: VirtualizerOptions<HTMLElement, HTMLElement> = {
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: () => render(undefined),
    ...options,
  };
  const [virtualizer] = useState(() => new Virtualizer(whole));
  virtualizer.setOptions(whole);
  useLayoutEffect(() => virtualizer._didMount(), []);
  useLayoutEffect(() => virtualizer._willUpdate());
  return virtualizer;
}
