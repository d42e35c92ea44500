// The page: data as JSON in a script element that nothing executes, and a small script that draws
// it. All text enters the page as text, never as markup; nothing is fetched.
#include "analyze/flame_impl.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static const char *const head[] = {
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>",
    "</title>\n<style>\n"
    ":root{color-scheme:light dark;--bg:#fff;--fg:#14181d;--dim:#5b6570;--line:#d5dae0;"
    "--panel:#f4f6f8;--l:76%;--s:60%;--hit:#ffe100}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e4e7eb;--dim:#98a2ad;"
    "--line:#333a42;--panel:#1d2126;--l:34%;--s:38%;--hit:#a98600}}\n"
    "*{box-sizing:border-box}html{overflow-y:scroll}body{margin:0;background:var(--bg);color:var(--"
    "fg);"
    "font:13px system-ui,sans-serif}\n"
    "header{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:8px;"
    "align-items:center;padding:8px 12px;background:var(--panel);"
    "border-bottom:1px solid var(--line)}\n"
    "header b{margin-right:auto;font-weight:600}\n"
    "button,input{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);"
    "border-radius:4px;padding:3px 9px}input{width:220px}input.bad,input.bad+#m{color:#e04040}\n"
    "#m{color:var(--dim);min-width:110px}#g{position:relative;margin:10px 12px;outline:0;"
    "overflow:hidden}\n"
    "#g div{position:absolute;height:18px;line-height:18px;overflow:hidden;white-space:nowrap;"
    "text-overflow:ellipsis;padding:0 3px;cursor:pointer;border-right:1px solid var(--bg);"
    "border-bottom:1px solid var(--bg);font:11.5px/18px ui-monospace,monospace}\n"
    "#g .n{padding:0}#g .up{opacity:.55}#g .hit{background:var(--hit)!important}\n"
    "#g .sel{outline:2px solid var(--fg);outline-offset:-2px}#g div:hover{filter:brightness(.9)}\n"
    "#t{position:fixed;z-index:3;display:none;max-width:min(760px,90vw);padding:7px 10px;"
    "pointer-events:none;background:var(--panel);border:1px solid var(--line);border-radius:5px;"
    "box-shadow:0 3px 12px #0005;white-space:pre-wrap;overflow-wrap:anywhere;"
    "font:12px/1.5 ui-monospace,monospace}\n"
    "footer{padding:4px 12px 14px;color:var(--dim)}\n</style></head><body>\n"
    "<header><b id=\"h\"></b><input id=\"q\" type=\"search\" "
    "placeholder=\"search: regexp  ( / )\" aria-label=\"search\"><span id=\"m\"></span>"
    "<button id=\"i\">Invert</button><button id=\"r\">Reset zoom</button></header>\n"
    "<div id=\"g\" tabindex=\"0\" role=\"img\" aria-label=\"flame graph\"></div><div "
    "id=\"t\"></div>\n"
    "<footer>Click or Enter: zoom. Esc: reset. Arrows: move. /: search. i: invert.</footer>\n"
    "<script type=\"application/json\" id=\"d\">"};

// Boxes come as [depth, name, weight, flat, cum, base?] in order of drawing.
static const char *const script[] = {
    "</script>\n<script>\n\"use strict\";\n"
    "const D=JSON.parse(document.getElementById('d').textContent),"
    "el=i=>document.getElementById(i),g=el('g'),t=el('t'),q=el('q');\n"
    "const N=[],at=[];\n"
    "for(const [depth,name,weight,flat,cum,base] of D.boxes){\n"
    "  const up=depth?at[depth-1]:null,n={depth,weight,flat,cum,base,up,id:N.length,kids:[],"
    "name:D.names[name],hue:D.hues[name],x:up?up.next:0};\n"
    "  n.next=n.x;if(up){up.next+=weight;up.kids.push(n)}\n"
    "  at[depth]=n;N.push(n)}\n"
    "const root=N[0];\n"
    "let zoom=root,sel=null,find=null,down=true,shown=[];\n"
    "const trim=v=>String(+v.toFixed(2));\n"
    "function scaled(v,units,step){let i=0;while(Math.abs(v)>=step[Math.min(i,step.length-1)]"
    "&&i<units.length-1){v/=step[Math.min(i,step.length-1)];i++}return trim(v)+units[i]}\n"
    "function show(v){const u=D.unit.toLowerCase();\n"
    "  if(u==='bytes'||u==='byte')return scaled(v,['B','kB','MB','GB','TB'],[1024]);\n"
    "  const k=['nanoseconds','microseconds','milliseconds','seconds'].indexOf(u);\n"
    "  if(k>=0)return scaled(v*1e3**k,['ns','us','ms','s'],[1000]);\n"
    "  return v.toLocaleString('en-US')+(u===''||u==='count'?'':' '+D.unit)}\n"
    "const share=v=>D.total?trim(100*v/D.total)+'%':'';\n",
    "function colour(n){\n"
    "  if(D.difference){const c=n.weight?n.cum/n.weight:0,m=Math.abs(c);\n"
    "    return `hsl(${c<0?215:5} ${m*80}% calc(var(--l) + ${8-m*16}%))`}\n"
    "  return n===root?'hsl(210 8% var(--l))':`hsl(${n.hue} var(--s) var(--l))`}\n"
    "function caption(n,w){const room=(w-8)/7;if(n.name.length<=room)return n.name;\n"
    "  const head=n.name.split('(')[0];return n.name.slice(head.lastIndexOf('/')+1)}\n"
    "function draw(){t.style.display='none';\n"
    "  const "
    "width=g.clientWidth,scale=width/(zoom.weight||1),all=document.createDocumentFragment();"
    "shown=[];\n"
    "  let rows=0;const put=(n,x,w,up)=>{const e=document.createElement('div');\n"
    "    e.style.cssText=`left:${x}px;width:${Math.max(w,.5)}px;background:${colour(n)}`;\n"
    "    e.className=(up?'up ':'')+(w<9?'n ':'')+(find&&find.test(n.name)?'hit ':'')"
    "+(n===sel?'sel':'');\n"
    "    if(w>=24)e.textContent=caption(n,w);e.node=n;n.e=e;shown.push(n);"
    "rows=Math.max(rows,n.depth);all.append(e)};\n"
    "  for(let u=zoom.up;u;u=u.up)put(u,0,width,true);\n"
    "  const todo=[zoom];while(todo.length){const n=todo.pop(),w=n.weight*scale;\n"
    "    if(w<.5)continue;put(n,(n.x-zoom.x)*scale,w,false);todo.push(...n.kids)}\n"
    "  for(const n of shown)n.e.style.top=(down?n.depth:rows-n.depth)*19+'px';\n"
    "  g.style.height=(rows+1)*19+'px';g.replaceChildren(all)}\n"
    "function matched(){if(!find){el('m').textContent=q.className?'no regexp':'';return}\n"
    "  let sum=0;const todo=[zoom];while(todo.length){const n=todo.pop();\n"
    "    if(find.test(n.name))sum+=n.weight;else todo.push(...n.kids)}\n"
    "  el('m').textContent='matched '+trim(zoom.weight?100*sum/zoom.weight:0)+'%'}\n"
    "function search(){find=null;q.className='';\n"
    "  if(q.value)try{find=new RegExp(q.value,'i')}catch{q.className='bad'}\n"
    "  draw();matched()}\n"
    "function into(n){zoom=n;sel=n;draw();matched()}\n"
    "function tip(n,x,y){const rest=n.cum-n.flat-n.kids.reduce((s,k)=>s+k.cum,0);\n"
    "  t.textContent=n.name+'\\ncum  '+show(n.cum)+'  '+share(n.cum)+'\\nflat '+show(n.flat)+'  '"
    "+share(n.flat)\n"
    "    +(D.difference?'\\nbase '+show(n.base):'')+(rest?'\\nfolded '+show(rest):'');\n"
    "  t.style.display='block';t.style.left=Math.max(0,Math.min(x+14,innerWidth-t.offsetWidth-8))"
    "+'px';\n"
    "  t.style.top=(y+18+t.offsetHeight>innerHeight?Math.max(0,y-t.offsetHeight-10):y+18)+'px'}\n",
    "g.onclick=e=>{if(e.target.node)into(e.target.node)};\n"
    "g.onmousemove=e=>{if(e.target.node)tip(e.target.node,e.clientX,e.clientY);"
    "else t.style.display='none'};\n"
    "g.onmouseleave=()=>t.style.display='none';\n"
    "q.oninput=search;el('r').onclick=()=>into(root);"
    "el('i').onclick=()=>{down=!down;draw()};\n"
    "function move(k){const s=sel&&sel.e&&sel.e.isConnected?sel:zoom;let n=s;\n"
    "  if(k==='ArrowLeft'||k==='ArrowRight'){const row=shown.filter(o=>o.depth===s.depth)"
    ".sort((a,b)=>a.x-b.x);n=row[row.indexOf(s)+(k==='ArrowLeft'?-1:1)]}\n"
    "  else n=(k==='ArrowDown')===down?s.kids[0]:s.up;\n"
    "  if(n&&shown.includes(n)){sel=n;draw();n.e.scrollIntoView({block:'nearest'});\n"
    "    const b=n.e.getBoundingClientRect();tip(n,b.left,b.bottom-12)}}\n"
    "onkeydown=e=>{if(e.ctrlKey||e.metaKey||e.altKey)return;\n"
    "  if(e.target===q){if(e.key==='Escape'){q.value='';search();g.focus()}"
    "else if(e.key==='Enter')g.focus();return}\n"
    "  if(e.key==='/'){e.preventDefault();q.focus()}else if(e.key==='i'){down=!down;draw()}\n"
    "  else if(e.key==='Escape')into(root)\n"
    "  else if(e.key==='Enter'&&sel&&e.target.tagName!=='BUTTON')into(sel)\n"
    "  else if(e.key.startsWith('Arrow')){e.preventDefault();move(e.key)}};\n"
    "onresize=draw;\n"
    "el('h').textContent=D.type+(D.difference?`, change ${show(root.cum)}, "
    "base ${show(root.base)} (red: more, blue: less)`:', total '+show(D.total));\n"
    "// #zoom=NAME&q=REGEXP&invert: of a link; the widest box of that name.\n"
    "function follow(){const p=new URLSearchParams(location.hash.slice(1)),name=p.get('zoom');\n"
    "  let n=root;if(name)for(const o of N)"
    "if(o.name===name&&(n===root||o.weight>n.weight))n=o;\n"
    "  down=!p.has('invert');zoom=n;sel=n===root?null:n;q.value=p.get('q')||'';search()}\n"
    "onhashchange=follow;follow();\n</script></body></html>\n"};

// Name numbers of the boxes: frame + 1, the root's 0, dense in order of first use.
typedef struct numbering {
  uint32_t *of_frame; // number + 1
  size_t room;
  uint32_t count;
} numbering;

static tm_status put_names(flame *f, numbering *n) {
  const char *name;
  size_t size;
  for (size_t i = 0; i < f->boxes.count; i++) {
    size_t frame = i ? (size_t)flame_node(f, i)->frame + 1 : 0;
    if (n->of_frame[frame]) continue;
    n->of_frame[frame] = ++n->count;
    TM_TRY(flame_name(f, i, &name, &size));
    FLAME_PRINT(f, "%s\"", n->count > 1 ? "," : "");
    TM_TRY(flame_put_json(f, name, size));
    FLAME_PRINT(f, "\"");
  }
  return TM_OK;
}

static tm_status put_hues(flame *f, const numbering *n) {
  const char *name;
  size_t size;
  uint32_t done = 0;
  for (size_t i = 0; i < f->boxes.count; i++) {
    size_t frame = i ? (size_t)flame_node(f, i)->frame + 1 : 0;
    if (n->of_frame[frame] != done + 1) continue;
    TM_TRY(flame_name(f, i, &name, &size));
    FLAME_PRINT(f, "%s%u", done++ ? "," : "", flame_hue(name, size));
  }
  return TM_OK;
}

static tm_status put_boxes(flame *f, const numbering *names) {
  for (size_t i = 0; i < f->boxes.count; i++) {
    const tm_call_node *n = flame_node(f, i);
    size_t frame = i ? (size_t)n->frame + 1 : 0;
    FLAME_PRINT(f, "%s[%u,%u,%llu,%lld,%lld", i ? "," : "", f->boxes.items[i].depth,
                names->of_frame[frame] - 1, (unsigned long long)n->weight, (long long)n->flat,
                (long long)n->cum);
    if (f->tree.is_difference) FLAME_PRINT(f, ",%lld", (long long)n->base_cum);
    FLAME_PRINT(f, "]");
  }
  return TM_OK;
}

static tm_status put_data(flame *f) {
  numbering n = {.room = f->names.nodes.count + 1};
  n.of_frame = tm_calloc(f->ctx, n.room, sizeof *n.of_frame);
  if (!n.of_frame) return TM_E_NOMEM;
  tm_status status = put_names(f, &n);
  if (status == TM_OK) status = tm_bytes_printf(f->ctx, f->out, "],\n\"hues\":[");
  if (status == TM_OK) status = put_hues(f, &n);
  if (status == TM_OK) status = tm_bytes_printf(f->ctx, f->out, "],\n\"boxes\":[");
  if (status == TM_OK) status = put_boxes(f, &n);
  tm_free(f->ctx, n.of_frame, n.room * sizeof *n.of_frame);
  return status;
}

static tm_status put_lines(flame *f, const char *const *lines, size_t count) {
  for (size_t i = 0; i < count; i++)
    TM_TRY(tm_bytes_append(f->ctx, f->out, lines[i], strlen(lines[i])));
  return TM_OK;
}

tm_status flame_html(flame *f) {
  TM_TRY(put_lines(f, head, 1));
  TM_TRY(flame_put_xml(f, f->type, strlen(f->type)));
  FLAME_PRINT(f, " flame graph");
  TM_TRY(put_lines(f, head + 1, TM_COUNT(head) - 1));
  FLAME_PRINT(f, "{\"type\":\"");
  TM_TRY(flame_put_json(f, f->type, strlen(f->type)));
  FLAME_PRINT(f, "\",\"unit\":\"");
  TM_TRY(flame_put_json(f, f->unit, strlen(f->unit)));
  FLAME_PRINT(f, "\",\"total\":%lld,\"difference\":%s,\n\"names\":[", (long long)f->total,
              f->tree.is_difference ? "true" : "false");
  TM_TRY(put_data(f));
  FLAME_PRINT(f, "]}");
  return put_lines(f, script, TM_COUNT(script));
}
