// What the pages do beyond htmx: say how fresh the figures are, draw charts, open dialogs, find, sort tables.
// Every page is complete without it.
(() => {
  'use strict';
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- How fresh the figures are -------------------------------------------------------------------------------
  // The server sends a beat each second. When none came for a while the page says so and counts the age of what it
  // shows: it never shows old figures as if they were now.
  const STALE_AFTER = 5000;
  const live = $('#live[hx-sse\\:connect]');
  const fresh = $('#fresh');
  const bar = $('#stale-bar');
  let heard = Date.now();
  let ended = false;

  function beat() {
    heard = Date.now();
    showAge();
  }

  function showAge() {
    if (!live || !fresh) return;
    const age = Date.now() - heard;
    const stale = !ended && age > STALE_AFTER && !document.hidden;
    document.body.classList.toggle('stale', stale);
    fresh.dataset.is = stale ? 'stale' : 'live';
    fresh.textContent = ended ? 'done' : stale ? `${seconds(age)} old` : 'live';
    if (stale) bar.textContent = `No news from the server for ${seconds(age)}: these figures are from ${new Date(heard).toISOString().slice(11, 19)} UTC. Trying again.`;
  }

  // A stream that broke is opened again by its extension; one that never opened is not.
  function reconnect() {
    if (document.hidden || live._htmx?.sse || typeof htmx === 'undefined') return;
    htmx.ajax('GET', live.getAttribute('hx-sse:connect'), { source: live, target: live, swap: 'innerMorph' });
  }

  function seconds(ms) {
    const s = Math.floor(ms / 1000);
    return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
  }

  if (live) {
    for (const name of ['beat', 'htmx:sse:after:message']) document.addEventListener(name, beat);
    document.addEventListener('end', () => { ended = true; showAge(); });
    document.addEventListener('visibilitychange', () => { heard = Math.max(heard, document.hidden ? 0 : Date.now() - STALE_AFTER + 2000); });
    setInterval(showAge, 1000);
    setInterval(reconnect, 5000);
    // Whoever is no longer logged in is shown the log in.
    document.addEventListener('htmx:response:error', (event) => {
      if (event.detail?.ctx?.response?.status === 401) location.reload();
    });
    fresh.hidden = false;
    showAge();
  }

  // --- The clock -----------------------------------------------------------------------------------------------
  const clock = $('#clock');
  if (clock) {
    const tick = () => { clock.textContent = `${new Date().toISOString().slice(11, 19)} UTC`; };
    tick();
    setInterval(tick, 1000);
  }

  // --- Keyboard ------------------------------------------------------------------------------------------------
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest?.('input, textarea, select, dialog[open]');
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
      const find = $('#find');
      if (find) { event.preventDefault(); find.focus(); find.select(); }
    }
    if (event.key === 'Escape' && event.target.id === 'find') event.target.blur();
  });

  // --- Dialogs: a link to a page that asks opens the same question in place ------------------------------------
  document.addEventListener('click', (event) => {
    const opener = event.target.closest('[data-dialog]');
    if (opener && !event.ctrlKey && !event.metaKey) {
      const dialog = document.getElementById(opener.dataset.dialog);
      if (dialog?.showModal) { event.preventDefault(); dialog.showModal(); }
    }
    const closer = event.target.closest('[data-close]');
    const open = closer?.closest('dialog');
    if (open) { event.preventDefault(); open.close(); }
    if (event.target.matches?.('dialog[open]')) event.target.close();
  });

  // --- Forms: one press is one post ----------------------------------------------------------------------------
  document.addEventListener('submit', (event) => {
    if (event.defaultPrevented || event.target.method !== 'post') return;
    const button = event.submitter;
    if (button) setTimeout(() => { button.disabled = true; setTimeout(() => { button.disabled = false; }, 4000); });
  });

  // --- Sorting: by the cell's data-sort or its text; kept while live parts are replaced ------------------------
  const sorted = new Map();
  document.addEventListener('click', (event) => {
    const button = event.target.closest('th button');
    if (!button) return;
    const table = button.closest('table');
    const at = button.closest('th').cellIndex;
    const before = sorted.get(table.id);
    sorted.set(table.id, { at, down: before?.at === at ? !before.down : button.closest('th').classList.contains('num') });
    applySort(table);
  });

  function applySort(table) {
    const by = sorted.get(table.id);
    if (!by) return;
    const key = (row) => {
      const cell = row.cells[by.at];
      const raw = cell?.dataset.sort ?? cell?.textContent.trim() ?? '';
      return raw !== '' && !Number.isNaN(Number(raw)) ? Number(raw) : raw;
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === '' || b === '') return (a === '') - (b === '');
      const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
      return by.down ? -order : order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    $$('th', table).forEach((th, at) => {
      if (at === by.at) th.setAttribute('aria-sort', by.down ? 'descending' : 'ascending');
      else th.removeAttribute('aria-sort');
    });
  }

  function makeSortable(root) {
    for (const th of $$('table[id] thead th[data-sortable]', root)) {
      if ($('button', th)) continue;
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...th.childNodes);
      th.append(button);
    }
    $$('table[id]', root).forEach(applySort);
  }
  makeSortable(document);
  document.addEventListener('htmx:after:swap', () => makeSortable(document));

  // --- Charts --------------------------------------------------------------------------------------------------
  const charts = new Map();

  function colour(name) {
    const probe = document.createElement('i');
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  const units = {
    lag: (ms) => ms < 1000 ? `${Math.round(ms)} ms` : ms < 60000 ? `${trim(ms / 1000)} s` : ms < 3600000 ? `${trim(ms / 60000)} min` : `${trim(ms / 3600000)} h`,
    rate: (n) => n < 1000 ? `${trim(n)} /s` : n < 1e6 ? `${trim(n / 1000)} k/s` : `${trim(n / 1e6)} M/s`,
  };
  const trim = (n) => (n >= 100 ? n.toFixed(0) : n.toFixed(1).replace(/\.0$/, ''));

  function eventMarks(marks) {
    return (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.strokeStyle = colour('--warn');
      ctx.setLineDash([4, 4]);
      for (const [at] of marks()) {
        const x = plot.valToPos(at, 'x', true);
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.restore();
    };
  }

  function draw(figure, data, marks) {
    const box = $('.plot', figure);
    const show = units[figure.dataset.unit];
    const series = $$('.legend', figure).map((legend) => legend.textContent);
    const readout = $('.readout', figure);
    const axis = { stroke: colour('--mute'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, "DejaVu Sans", sans-serif' };
    let known = marks;
    const plot = new uPlot({
      width: box.clientWidth,
      height: box.clientHeight,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), 'Etc/UTC'),
      legend: { show: false },
      cursor: { points: { size: 6 }, drag: { x: true, y: false } },
      scales: { y: { range: (u, low, high) => [0, high > 0 ? high * 1.12 : 1] } },
      axes: [
        { ...axis, size: 26, space: 90, values: [[86400, '{MMM} {D}'], [3600, '{HH}:{mm}'], [60, '{HH}:{mm}'], [1, '{HH}:{mm}:{ss}']].map(([step, text]) => [step, text, null, null, null, null, null, null, 1]) },
        { ...axis, size: 62, values: (u, ticks) => ticks.map(show) },
      ],
      // Where two lines run together both can be seen: the first is broad and pale, under the second.
      series: [{}, ...series.map((label, at) => ({ label, stroke: colour(at ? '--series-2' : '--accent'), ...(series.length > 1 && !at ? { width: 5, alpha: 0.4 } : { width: 1.7 }), points: { show: false }, spanGaps: false }))],
      hooks: {
        draw: [eventMarks(() => known)],
        setCursor: [(u) => {
          const at = u.cursor.idx;
          readout.textContent = at == null ? '' : `${new Date(u.data[0][at] * 1000).toISOString().slice(11, 19)} · ${series.map((label, n) => `${label} ${u.data[n + 1][at] == null ? '–' : show(u.data[n + 1][at])}`).join(' · ')}`;
        }],
      },
    }, data, (u, start) => { box.replaceChildren(u.root); start(); });
    plot.remember = (next) => { known = next; };
    return plot;
  }

  async function refresh() {
    const figures = $$('figure[data-points]');
    if (!figures.length || document.hidden || typeof uPlot === 'undefined') return;
    try {
      const answer = await fetch(figures[0].dataset.points, { headers: { accept: 'application/json' } });
      if (!answer.ok) return;
      const points = await answer.json();
      for (const figure of figures) {
        const data = [points.at, ...figure.dataset.columns.split(' ').map((column) => points[column])];
        if (points.at.length < 2) continue;
        let plot = charts.get(figure.id);
        if (plot) { plot.remember(points.marks); plot.setData(data); } else charts.set(figure.id, draw(figure, data, points.marks));
      }
    } catch { /* The bar about stale figures says that the server is away. */ }
  }

  if ($('figure[data-points]')) {
    refresh();
    setInterval(refresh, 5000);
    new ResizeObserver(() => {
      for (const [id, plot] of charts) {
        const box = $('.plot', document.getElementById(id));
        if (box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
      }
    }).observe(document.body);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      charts.forEach((plot) => plot.destroy());
      charts.clear();
      refresh();
    });
  }
})();
