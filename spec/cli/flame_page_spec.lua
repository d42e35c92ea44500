-- The script of a flame page, run by a real browser without a window: what a link, clicks and keys make of the page.
local helper = require "spec.support.helper"

local stacks = table.concat({ "main;serve;log 30", "main;serve;encode 50", "main;idle 20", "main;serve;log;<b>&x;write 100" }, "\n") .. "\n"

describe("a flame page", function()
  local page
  local has_browser = os.execute("command -v chromium >/dev/null 2>&1")
  setup(function()
    local dir = helper.folder()
    local input = helper.write(dir .. "/a.collapsed", stacks)
    assert.equal(0, helper.tidemark("flame", input, "-o", dir .. "/a.html").code)
    page = dir .. "/a.html"
  end)
  teardown(helper.tidy)

  -- The page's document after a link's fragment was followed, and after a script that says what a person does.
  local function seen(fragment, doing)
    local path = page
    if doing then
      path = helper.folder() .. "/driven.html"
      local text, n = helper.read(page):gsub("</body></html>%s*$", function() return "<script>" .. doing .. "</script></body></html>" end)
      assert.equal(1, n)
      helper.write(path, text)
    end
    local data = helper.folder()
    local result = helper.shell(("timeout -k 2 50 chromium --headless --no-sandbox --disable-gpu --user-data-dir=%s --window-size=1000,600 "
      .. "--virtual-time-budget=2000 --dump-dom 'file://%s%s'"):format(data, path, fragment or ""))
    assert.equal(0, result.code, result.err)
    local boxes = {}
    local graph = result.out:match('<div id="g".-</div></div>') or ""
    for attributes, caption in graph:gmatch("<div ([^>]*left:[^>]*)>([^<]*)</div>") do
      boxes[#boxes + 1] = { caption = caption, left = tonumber(attributes:match("left: ?([%d.]+)px")), top = tonumber(attributes:match("top: ?([%d.]+)px")),
        width = tonumber(attributes:match("width: ?([%d.]+)px")), class = attributes:match('class="([^"]*)"') or "" }
    end
    local by = {}
    for _, box in ipairs(boxes) do by[box.caption] = box end
    return by, boxes, result.out:match('<span id="m">([^<]*)</span>'), result.out
  end

  local function with_browser(name, body)
    it(name, function()
      if not has_browser then return pending("no Chromium here") end
      body()
    end)
  end

  with_browser("draws every box at its share of the width, and names as text", function()
    local by, boxes, matched, out = seen()
    assert.equal(8, #boxes)
    local width = by.root.width
    for name, weight in pairs { main = 200, serve = 180, log = 130, encode = 50, idle = 20 } do
      assert.near(weight / 200, by[name].width / width, 0.002, name)
    end
    assert.is_true(by.main.top > by.root.top and by.serve.top > by.main.top)
    assert.equal("", matched)
    assert.is_truthy(out:find(">&lt;b&gt;&amp;", 1, true)) -- no markup
  end)

  with_browser("follows a link to a search", function()
    local by, boxes, matched = seen "#q=ENCO%7Cidle"
    assert.equal("matched 35%", matched)
    for _, box in ipairs(boxes) do
      local hit = box.caption == "encode" or box.caption == "idle"
      assert.equal(hit, box.class:find("hit", 1, true) ~= nil, box.caption)
    end
    assert.is_table(by.main)
    local _, _, bad = seen "#q=%28"
    assert.equal("no regexp", bad)
  end)

  with_browser("follows a link to a box, upside down too, and searches within it", function()
    local by, boxes, matched = seen "#zoom=serve&q=encode"
    assert.is_nil(by.idle)
    assert.equal(7, #boxes)
    assert.near(by.root.width, by.serve.width, 0.01) -- the callers span all
    assert.matches("up", by.main.class)
    assert.matches("sel", by.serve.class)
    assert.near(50 / 180, by.encode.width / by.serve.width, 0.002)
    assert.equal("matched 27.78%", matched)
    by = seen "#invert&zoom=log"
    assert.is_true(by.root.top > by.main.top and by.main.top > by.log.top)
    by, boxes = seen "#zoom=nobody"
    assert.equal(8, #boxes)
    assert.is_table(by.idle)
  end)

  with_browser("zooms by click, resets by Escape, moves by arrows, inverts by i", function()
    local press = "const key=k=>dispatchEvent(new KeyboardEvent('keydown',{key:k,cancelable:true}));"
    local click = "const click=name=>shown.find(n=>n.name===name).e.click();"
    local by = seen("", click .. "click('log')")
    assert.is_nil(by.encode)
    assert.near(by.root.width, by.log.width, 0.01)
    by = seen("", click .. press .. "click('log');key('Escape')")
    assert.near(50 / 200, by.encode.width / by.root.width, 0.002)
    by = seen("", press .. "for(const k of ['ArrowDown','ArrowDown','ArrowRight','Enter'])key(k)")
    assert.near(by.root.width, (by.idle or by.serve).width, 0.01)
    by = seen("", press .. "key('i')")
    assert.is_true(by.root.top > by.log.top)
    local _, _, _, out = seen("", click .. "const e=shown.find(n=>n.name==='encode');tip(e,10,10)")
    assert.is_truthy(out:find("encode\ncum  50  25%\nflat 50  25%", 1, true), out:match('<div id="t".-</div>'))
  end)
end)
