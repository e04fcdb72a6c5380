//! What an XID of the NVIDIA driver means and what to do about it, after NVIDIA's catalogue
//! (docs.nvidia.com/deploy/xid-errors), in few words.

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Application,
    Follow,
    ResetSoon,
    Reset,
    Reboot,
    Cabling,
    Links,
    Power,
    Driver,
    Replace,
}

impl Action {
    pub fn text(self) -> [&'static str; 2] {
        match self {
            Self::Application => [
                "restart the application; if only one does it, debug that one, if several do, test the card",
                "응용 프로그램을 다시 시작하고, 한 프로그램에서만 나면 그 프로그램을, 여러 곳에서 나면 카드를 점검하십시오",
            ],
            Self::Follow => ["look at the XID that came just before it", "바로 앞에 발생한 XID를 확인하십시오"],
            Self::ResetSoon => ["let work end, then reset the GPU", "작업이 끝나면 GPU를 재설정하십시오"],
            Self::Reset => ["drain the node and reset the GPU", "노드를 비우고 GPU를 재설정하십시오"],
            Self::Reboot => ["drain the node and restart it", "노드를 비우고 다시 시작하십시오"],
            Self::Cabling => [
                "drain the node and restart it; if it comes back, check seating, risers and power, then replace the card",
                "노드를 비우고 다시 시작하십시오. 되풀이되면 장착, 라이저, 전원을 확인하고 카드를 교체하십시오",
            ],
            Self::Links => [
                "reset the GPU; if it comes back, check the NVLink bridge, the fabric manager and the other end",
                "GPU를 재설정하십시오. 되풀이되면 NVLink 브리지, 패브릭 매니저, 상대편을 확인하십시오",
            ],
            Self::Power => ["check the power cables and supplies of the node", "노드의 전원 케이블과 전원 공급 장치를 확인하십시오"],
            Self::Driver => [
                "restart the node; if it comes back, change the driver or firmware version",
                "노드를 다시 시작하십시오. 되풀이되면 드라이버나 펌웨어 버전을 바꾸십시오",
            ],
            Self::Replace => ["drain the node and have the card replaced", "노드를 비우고 카드를 교체하십시오"],
        }
    }
}

/// One code.
#[derive(Debug)]
pub struct Xid {
    pub code: u32,
    /// The card or its node is out of use until somebody acts.
    pub is_critical: bool,
    /// In English and Korean.
    pub meaning: [&'static str; 2],
    pub action: Action,
}

const fn x(code: u32, is_critical: bool, action: Action, en: &'static str, ko: &'static str) -> Xid {
    Xid { code, is_critical, meaning: [en, ko], action }
}

use Action::{Application, Cabling, Driver, Follow, Links, Power, Reboot, Replace, Reset, ResetSoon};

/// Sorted by code; a test holds it so.
#[rustfmt::skip]
pub static XIDS: &[Xid] = &[
    x(8, false, Application, "GPU stopped processing a channel", "GPU가 채널 처리를 멈춤"),
    x(11, false, Application, "invalid or corrupted push buffer", "잘못되었거나 손상된 푸시 버퍼"),
    x(13, false, Application, "graphics engine exception, mostly an illegal access of the application", "그래픽 엔진 예외, 대개 응용 프로그램의 잘못된 접근"),
    x(31, false, Application, "GPU memory page fault, mostly an illegal address of the application", "GPU 메모리 페이지 폴트, 대개 응용 프로그램의 잘못된 주소"),
    x(32, false, Application, "invalid or corrupted push buffer, at times a PCIe fault", "잘못된 푸시 버퍼, 때로는 PCIe 결함"),
    x(38, false, Driver, "driver firmware error", "드라이버 펌웨어 오류"),
    x(43, false, Application, "GPU stopped processing for one application", "한 응용 프로그램의 GPU 처리가 멈춤"),
    x(45, false, Follow, "work was ended after an earlier error or by a kill", "앞선 오류 또는 강제 종료로 작업이 정리됨"),
    x(46, true, Reset, "GPU stopped processing", "GPU 처리 정지"),
    x(48, true, Reset, "uncorrectable double bit ECC error", "정정할 수 없는 2비트 ECC 오류"),
    x(54, true, Power, "auxiliary power is not connected", "보조 전원이 연결되지 않음"),
    x(56, false, Driver, "display engine error", "디스플레이 엔진 오류"),
    x(57, false, Reset, "error programming the video memory interface", "비디오 메모리 인터페이스 설정 오류"),
    x(58, false, Reset, "unstable video memory interface or ECC", "비디오 메모리 인터페이스 또는 ECC 불안정"),
    x(61, true, Reset, "internal microcontroller breakpoint or warning", "내부 마이크로컨트롤러 경고"),
    x(62, true, Reset, "internal microcontroller halted", "내부 마이크로컨트롤러 정지"),
    x(63, false, ResetSoon, "a memory page or row is marked to be retired or remapped", "메모리 페이지 또는 행이 폐기·재배치 대상으로 기록됨"),
    x(64, true, Replace, "a memory page or row could not be retired or remapped", "메모리 페이지 또는 행의 폐기·재배치 실패"),
    x(65, false, Driver, "video processor exception", "비디오 프로세서 예외"),
    x(68, false, Application, "video decoder exception", "비디오 디코더 예외"),
    x(69, false, Application, "graphics engine class error", "그래픽 엔진 클래스 오류"),
    x(74, true, Links, "NVLink error", "NVLink 오류"),
    x(78, false, Driver, "virtual GPU could not start", "가상 GPU 시작 실패"),
    x(79, true, Cabling, "GPU has fallen off the bus", "GPU가 버스에서 사라짐"),
    x(92, false, ResetSoon, "high rate of corrected ECC errors", "정정된 ECC 오류가 잦음"),
    x(93, false, Driver, "the GPU's info ROM could not be written", "GPU 정보 ROM 기록 실패"),
    x(94, false, ResetSoon, "contained uncorrectable memory error: the application that met it was ended", "격리된 메모리 오류: 해당 응용 프로그램만 종료됨"),
    x(95, true, Reset, "uncontained uncorrectable memory error: all work on the card is affected", "격리되지 않은 메모리 오류: 카드의 모든 작업이 영향을 받음"),
    x(109, true, Reset, "context switch timed out", "컨텍스트 전환 시간 초과"),
    x(110, true, Reboot, "security fault", "보안 결함"),
    x(119, true, Reset, "no answer of the GPU's system processor (GSP) in time", "GPU 시스템 프로세서(GSP) 응답 시간 초과"),
    x(120, true, Reset, "error of the GPU's system processor (GSP)", "GPU 시스템 프로세서(GSP) 오류"),
    x(121, false, ResetSoon, "corrected error of the link to the CPU (C2C)", "CPU 연결(C2C)의 정정된 오류"),
    x(122, false, Driver, "the GPU's ROM could not be read", "GPU ROM 읽기 실패"),
    x(123, false, Driver, "the GPU's ROM could not be written", "GPU ROM 쓰기 실패"),
    x(136, true, Reset, "training of an NVLink failed", "NVLink 트레이닝 실패"),
    x(137, false, Application, "fault of access over NVLink by a peer", "NVLink를 통한 상대 접근 결함"),
    x(140, true, Reset, "uncorrected memory error outside ECC's reach", "ECC로 정정되지 않은 메모리 오류"),
    x(143, true, Reset, "GPU could not be initialised", "GPU 초기화 실패"),
    x(144, true, Links, "NVLink: SAW error", "NVLink: SAW 오류"),
    x(145, true, Links, "NVLink: RLW error", "NVLink: RLW 오류"),
    x(146, true, Links, "NVLink: TLW error", "NVLink: TLW 오류"),
    x(147, true, Links, "NVLink: TREX error", "NVLink: TREX 오류"),
    x(148, true, Links, "NVLink: NVLPW control error", "NVLink: NVLPW 제어 오류"),
    x(149, true, Links, "NVLink: NETIR error", "NVLink: NETIR 오류"),
    x(150, true, Links, "NVLink: MSE error", "NVLink: MSE 오류"),
    x(154, true, Follow, "the driver changed what it asks for to recover the GPU: none, drain, reset or restart of the node", "드라이버가 요구하는 GPU 복구 방법이 바뀜: 없음, 비우기, 재설정, 노드 재시작"),
    x(155, true, Links, "NVLink software error", "NVLink 소프트웨어 오류"),
    x(156, false, ResetSoon, "a resource of the GPU was retired", "GPU 자원 하나가 폐기됨"),
    x(157, false, Replace, "a resource of the GPU could not be retired", "GPU 자원 폐기 실패"),
    x(158, true, Reset, "fatal GPU timeout", "치명적인 GPU 시간 초과"),
];

/// The code of an event `xid:79`.
pub fn of_code(code: &str) -> Option<&'static Xid> {
    let number: u32 = code.strip_prefix("xid:")?.parse().ok()?;
    XIDS.binary_search_by_key(&number, |x| x.code).ok().map(|i| &XIDS[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_with_what_to_do() {
        assert!(XIDS.windows(2).all(|w| w[0].code < w[1].code));
        let lost = of_code("xid:79").unwrap();
        assert!(lost.is_critical && lost.meaning[0].contains("fallen off the bus") && lost.action.text()[0].contains("seating"));
        assert!(of_code("xid:9999").is_none() && of_code("sel:0x0c").is_none() && of_code("xid:79x").is_none());
    }
}
